// Command run boots a guest in QEMU for a person to try: the distribution's kernel, three shares and two networks. On a
// terminal it opens a shell in the guest. Without a terminal it prints the boot as a table and powers the guest off. It fails
// if a step of the boot failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"github.com/arcinit/arcinit/vmtests/guest"
	"golang.org/x/term"
)

// bootTime limits an unattended guest from its start to power-off. buttonTime limits its reaction to the power button.
const (
	bootTime   = 2 * time.Minute
	buttonTime = 15 * time.Second
)

func main() {
	var o options
	flag.StringVar(&o.arch, "arch", runtime.GOARCH, "the guest's `architecture`")
	flag.StringVar(&o.build, "build", filepath.Join("build", runtime.GOARCH), "the `directory` with kernel and images")
	flag.StringVar(&o.agent, "agent", "", "the `program` to start as the agent, instead of the example")
	flag.StringVar(&o.report, "report", filepath.Join("build", "boot.json"), "the `file` to write the boot report to")
	flag.StringVar(&o.picture, "picture", filepath.Join("build", "boot.svg"), "the `file` to draw the boot to")
	flag.StringVar(&o.docker, "docker", "", "the container `engine` to boot, by the name of its disk in the build directory")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
		os.Exit(1)
	}
}

type options struct {
	arch, build, agent, report, picture, docker string
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "arcinit-run-")
	if err != nil {
		return fmt.Errorf("make a directory for the shares: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	config := guest.Config{
		Arch:    o.arch,
		Kernel:  filepath.Join(o.build, "vmlinuz-stock"),
		NICs:    []guest.NIC{guest.PrimaryNIC(), guest.BridgeNIC()},
		Timeout: bootTime,
	}
	for _, tag := range []string{"arcbox", "users", "private"} {
		share := guest.Share{Tag: tag, Dir: filepath.Join(dir, tag)}
		if err := os.Mkdir(share.Dir, 0o755); err != nil {
			return fmt.Errorf("make the share %s: %w", tag, err)
		}
		config.Shares = append(config.Shares, share)
	}
	arcbox := filepath.Join(dir, "arcbox")
	if err := installAgent(ctx, o, filepath.Join(arcbox, "bin", "arcbox-agent")); err != nil {
		return err
	}
	unattendedInitrd, interactiveInitrd := "initramfs-modules.cpio", "initramfs-debug.cpio"
	if o.docker != "" {
		if err := addDocker(&config, o, arcbox); err != nil {
			return err
		}
		// The disk has a shell.
		interactiveInitrd = unattendedInitrd
	}
	log := filepath.Join(arcbox, "log")
	report := reportFile{
		share: filepath.Join(log, "boot.json"), copy: o.report,
		network: filepath.Join(log, "net.json"), picture: o.picture,
	}

	if term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd())) {
		config.Initrd = filepath.Join(o.build, interactiveInitrd)
		return interactive(ctx, config, report, o)
	}
	config.Initrd = filepath.Join(o.build, unattendedInitrd)
	return unattended(ctx, config, report, o)
}

// installAgent puts the agent on the share: the user's program, or the example, which it builds for the guest.
func installAgent(ctx context.Context, o options, target string) error {
	if o.agent != "" {
		program, err := os.ReadFile(o.agent)
		if err != nil {
			return fmt.Errorf("read the agent: %w", err)
		}
		if err := write(target, program, 0o755); err != nil {
			return fmt.Errorf("put the agent on the share: %w", err)
		}
		return nil
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", target, "./vmtests/run/agent")
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+o.arch, "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build the example agent: %w", err)
	}
	return nil
}

// reportFile names the files of the boot report. share is the guest's file, and copy is a copy that stays on the host. network
// is the network report, which only the example agent copies to the share. picture is drawn from both reports.
type reportFile struct {
	share, copy, network, picture string
}

// draw draws the boot with cmd/arcinit.
func (f reportFile) draw(ctx context.Context) error {
	args := []string{"run", "./cmd/arcinit", "plot", f.copy}
	if _, err := os.Stat(f.network); err == nil {
		args = append(args, f.network)
	}
	plot := exec.CommandContext(ctx, "go", args...)
	plot.Stderr = os.Stderr
	svg, err := plot.Output()
	if err != nil {
		return fmt.Errorf("draw the boot: %w", err)
	}
	if err := write(f.picture, svg, 0o644); err != nil {
		return fmt.Errorf("keep the picture of the boot: %w", err)
	}
	fmt.Printf("The boot is drawn in %s.\n", f.picture)
	return nil
}

// errNoReport means that the guest has not yet written the report of its whole plan.
var errNoReport = errors.New("the guest has not written a complete boot report")

// read reads the report and keeps a copy.
func (f reportFile) read() (arcsetup.Report, error) {
	data, err := os.ReadFile(f.share)
	if errors.Is(err, fs.ErrNotExist) {
		return arcsetup.Report{}, errNoReport
	}
	if err != nil {
		return arcsetup.Report{}, fmt.Errorf("read the boot report: %w", err)
	}
	r, err := arcsetup.ParseReport(data)
	if err != nil {
		return r, err
	}
	if r.PlanEnded == 0 {
		return r, errNoReport
	}
	if err := write(f.copy, data, 0o644); err != nil {
		return r, fmt.Errorf("keep the boot report: %w", err)
	}
	return r, nil
}

// wait reads the report as soon as the guest has written it.
func (f reportFile) wait(vm *guest.VM) (arcsetup.Report, error) {
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for {
		r, err := f.read()
		if !errors.Is(err, errNoReport) {
			return r, err
		}
		select {
		case <-vm.Ended():
			return r, errors.Join(err, vm.Wait())
		case <-look.C:
		}
	}
}

// write writes a file and makes its directory.
func write(path string, data []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, mode)
}

// unattended boots the guest, prints the boot and powers the guest off.
func unattended(ctx context.Context, config guest.Config, report reportFile, o options) error {
	example := o.agent == ""
	ready := make(chan struct{})
	// An agent that was restarted reports again.
	agentReady := sync.OnceFunc(func() { close(ready) })
	config.Ports = []guest.Port{{Name: "run", Line: func(line []byte) {
		if string(line) == "ready" {
			agentReady()
			return
		}
		fmt.Println("agent:", string(line))
	}}}
	fmt.Printf("Booting %s with %s.\n", config.Kernel, config.Initrd)
	vm, err := guest.Start(ctx, config)
	if err != nil {
		return err
	}
	// The guest does not outlive this function, even after an error.
	defer func() { vm.Kill(); _ = vm.Wait() }()

	if example {
		select {
		case <-ready:
		case <-vm.Ended():
			return errors.Join(errors.New("the guest ended before the example agent was ready"), vm.Wait())
		}
	}
	r, err := report.wait(vm)
	if err != nil {
		return err
	}
	fmt.Println()
	if err := r.WriteTable(os.Stdout); err != nil {
		return fmt.Errorf("print the boot: %w", err)
	}
	fmt.Printf("\nThe report is in %s.\n", report.copy)
	if o.docker != "" {
		fmt.Println("The container engine is starting.")
		m, err := vm.WaitMatch(ctx, containerMark)
		if err != nil {
			return err
		}
		fmt.Printf("In a container: %s.\n", m[1])
	}

	if example {
		err = vm.Send("run", "poweroff")
	} else {
		err = pressPowerButton(ctx, vm)
	}
	if errors.Is(err, errButtonIgnored) {
		fmt.Printf("%v. Stopping QEMU instead.\n", err)
		return errors.Join(vm.Stop(ctx), report.draw(ctx), failedSteps(r))
	}
	if err := errors.Join(err, vm.Wait()); err != nil {
		return err
	}
	if reason := vm.ShutdownReason(); reason != "guest-shutdown" {
		return fmt.Errorf("the guest did not power itself off: %s", reason)
	}
	return errors.Join(report.draw(ctx), failedSteps(r))
}

// failedSteps returns an error that names the failed steps, if any.
func failedSteps(r arcsetup.Report) error {
	var failed []string
	for _, step := range r.Steps {
		if step.Outcome == plan.Failed {
			failed = append(failed, step.Step)
		}
	}
	if failed != nil {
		return fmt.Errorf("steps that failed: %s", strings.Join(failed, ", "))
	}
	return nil
}

// errButtonIgnored is normal for a kernel without a driver for the power button, such as Debian's arm64 kernel.
var errButtonIgnored = errors.New("the guest ignores its power button")

// pressPowerButton presses the button every second until the guest reacts, because the button's driver may be a module that
// loads after the agent has started. It then stops pressing, since a second press makes the guest skip the rest of its
// shutdown.
func pressPowerButton(ctx context.Context, vm *guest.VM) error {
	ctx, cancel := context.WithTimeoutCause(ctx, buttonTime, errButtonIgnored)
	defer cancel()
	for ctx.Err() == nil {
		if err := vm.PowerButton(ctx); err != nil {
			return err
		}
		second, cancel := context.WithTimeout(ctx, time.Second)
		err := vm.WaitConsole(second, "shutting down")
		cancel()
		if err == nil {
			return nil
		}
	}
	return context.Cause(ctx)
}

// leaveKey is control-], the same as telnet's.
const leaveKey = 0x1d

// interactive boots the guest with its console on the terminal, where it shows the boot and opens a shell.
func interactive(ctx context.Context, config guest.Config, report reportFile, o options) error {
	fmt.Print("The guest opens a shell here when it is up. To leave, type `uinit poweroff`, or control-] at any time.\n")
	if o.docker != "" {
		fmt.Print("`docker run -it --rm busybox` works there once a first container has printed a line.\n")
	}
	fmt.Println()
	terminal := int(os.Stdin.Fd())
	before, err := term.MakeRaw(terminal)
	if err != nil {
		return fmt.Errorf("set the terminal to raw mode: %w", err)
	}
	defer func() { _ = term.Restore(terminal, before) }()

	boot, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	errLeft := errors.New("left by key")
	config.Cmdline = append(config.Cmdline, "arcbox.debug_console")
	config.Timeout = 24 * time.Hour
	config.Input = &keyReader{in: os.Stdin, key: leaveKey, pressed: func() { cancel(errLeft) }}
	config.Console = os.Stdout
	vm, err := guest.Start(boot, config)
	if err != nil {
		return err
	}
	if err := vm.Wait(); err != nil && !errors.Is(err, errLeft) {
		return err
	}
	_, err = report.read()
	if errors.Is(err, errNoReport) {
		return nil // the user left before the boot ended
	}
	if err != nil {
		return err
	}
	return report.draw(ctx)
}

// keyReader passes on what the user types. At the key it calls pressed and returns io.EOF.
type keyReader struct {
	in      io.Reader
	key     byte
	pressed func()
}

func (r *keyReader) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	for _, b := range p[:n] {
		if b == r.key {
			r.pressed()
			return 0, io.EOF
		}
	}
	return n, err
}
