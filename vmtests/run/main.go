// Command run boots a guest for a person to look at: QEMU, the distribution's kernel, three shares and two networks. With
// a terminal it ends in a shell in the guest; without one it prints the boot as a table, powers the guest off and ends,
// with an error if the boot was not as it should be.
package main

import (
	"bytes"
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

	"github.com/arcinit/arcinit/internal/plot"
	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"github.com/arcinit/arcinit/vmtests/guest"
	"golang.org/x/term"
)

// upMark is in the line that arcinit writes on the console when the set-up is done, and before the report is written.
const upMark = "guest is up"

// bootTime is how long a boot may take without a terminal, reportTime how long until its report is on the share, buttonTime
// how long until the power button is heeded.
const (
	bootTime   = 2 * time.Minute
	reportTime = 15 * time.Second
	buttonTime = 15 * time.Second
)

func main() {
	var o options
	flag.StringVar(&o.arch, "arch", runtime.GOARCH, "the guest's `architecture`")
	flag.StringVar(&o.build, "build", filepath.Join("build", runtime.GOARCH), "the `directory` with kernel and images")
	flag.StringVar(&o.agent, "agent", "", "the `program` to be the agent, instead of the example")
	flag.StringVar(&o.report, "report", filepath.Join("build", "boot.json"), "the `file` to leave the boot's report in")
	flag.StringVar(&o.picture, "picture", filepath.Join("build", "boot.svg"), "the `file` to draw the boot in")
	flag.StringVar(&o.docker, "docker", "", "the `engine` to run, of which there is a disk in the build directory")
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
		// The shell is the disk's.
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

// installAgent puts the agent on the share: the person's own, or the example, built for the guest.
func installAgent(ctx context.Context, o options, target string) error {
	if o.agent != "" {
		program, err := os.ReadFile(o.agent)
		if err != nil {
			return fmt.Errorf("read the agent: %w", err)
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return fmt.Errorf("put the agent on the share: %w", err)
		}
		if err := os.WriteFile(target, program, 0o755); err != nil {
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

// reportFile is the report that the guest leaves on the share, and the file that is left of it on the host.
type reportFile struct {
	share, copy string
	// network is what the example agent leaves on the share, picture what is drawn of both.
	network, picture string
}

// draw draws the boot when the guest has ended. An agent of the person's own leaves no report of the network.
func (f reportFile) draw(r arcsetup.Report) error {
	network, err := netd.ReadReport(f.network)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var svg bytes.Buffer
	if err := plot.Draw(&svg, r, network); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(f.picture), 0o755); err != nil {
		return fmt.Errorf("keep the boot's picture: %w", err)
	}
	if err := os.WriteFile(f.picture, svg.Bytes(), 0o644); err != nil {
		return fmt.Errorf("keep the boot's picture: %w", err)
	}
	fmt.Printf("The boot is drawn in %s.\n", f.picture)
	return nil
}

// errNoReport is of a guest that has not written its report, or not since its set-up is done.
var errNoReport = errors.New("there is no report of the guest's whole boot")

// read reads the report and leaves a copy.
func (f reportFile) read() (arcsetup.Report, error) {
	data, err := os.ReadFile(f.share)
	if errors.Is(err, fs.ErrNotExist) {
		return arcsetup.Report{}, errNoReport
	}
	if err != nil {
		return arcsetup.Report{}, fmt.Errorf("read the guest's report: %w", err)
	}
	r, err := arcsetup.ParseReport(data)
	if err != nil {
		return r, err
	}
	if r.PlanEnded == 0 {
		return r, errNoReport
	}
	if err := os.MkdirAll(filepath.Dir(f.copy), 0o755); err != nil {
		return r, fmt.Errorf("keep the guest's report: %w", err)
	}
	if err := os.WriteFile(f.copy, data, 0o644); err != nil {
		return r, fmt.Errorf("keep the guest's report: %w", err)
	}
	return r, nil
}

// wait reads the report of a guest that is up, and is about to write it.
func (f reportFile) wait(ctx context.Context) (arcsetup.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, reportTime)
	defer cancel()
	every := time.NewTicker(100 * time.Millisecond)
	defer every.Stop()
	for {
		r, err := f.read()
		if !errors.Is(err, errNoReport) {
			return r, err
		}
		select {
		case <-ctx.Done():
			return r, err
		case <-every.C:
		}
	}
}

// unattended boots the guest, prints the boot and powers the guest off.
func unattended(ctx context.Context, config guest.Config, report reportFile, o options) error {
	example := o.agent == ""
	ready := make(chan struct{})
	// An agent that has been started again says so once more.
	sayReady := sync.OnceFunc(func() { close(ready) })
	config.Ports = []guest.Port{{Name: "run", Line: func(line []byte) {
		if string(line) == "ready" {
			sayReady()
			return
		}
		fmt.Println("agent:", string(line))
	}}}
	fmt.Printf("Booting %s with %s.\n", config.Kernel, config.Initrd)
	vm, err := guest.Start(ctx, config)
	if err != nil {
		return err
	}
	// Whatever goes wrong below, the guest does not outlive this function.
	defer func() { vm.Kill(); _ = vm.Wait() }()

	if err := vm.WaitConsole(ctx, upMark); err != nil {
		return err
	}
	if example {
		select {
		case <-ready:
		case <-vm.Ended():
			return errors.Join(errors.New("the guest ended before the example agent was ready"), vm.Wait())
		}
	}
	r, err := report.wait(ctx)
	if err != nil {
		return err
	}
	fmt.Println()
	if err := r.WriteTable(os.Stdout); err != nil {
		return fmt.Errorf("print the boot: %w", err)
	}
	fmt.Printf("\nThe report is in %s.\n", report.copy)
	if o.docker != "" {
		fmt.Println("The container engine is being started.")
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
	if errors.Is(err, errNotHeeded) {
		// The person's agent cannot be asked, and the set-up was seen to be done.
		fmt.Printf("%v: its plug was pulled.\n", err)
		return errors.Join(vm.Stop(ctx), report.draw(r), failedSteps(r))
	}
	if err := errors.Join(err, vm.Wait()); err != nil {
		return err
	}
	if reason := vm.ShutdownReason(); reason != "guest-shutdown" {
		return fmt.Errorf("the guest did not power itself off: %s", reason)
	}
	return errors.Join(report.draw(r), failedSteps(r))
}

// failedSteps names the steps of a boot that failed, if any did.
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

// errNotHeeded is of a kernel without a driver for the power button, as Debian's for arm64.
var errNotHeeded = errors.New("the guest does not heed its power button")

// pressPowerButton presses the button until it is heeded, and no more, since a second press hurries the shutdown: the
// button's driver may be a module that is loaded after the agent has been started.
func pressPowerButton(ctx context.Context, vm *guest.VM) error {
	ctx, cancel := context.WithTimeoutCause(ctx, buttonTime, errNotHeeded)
	defer cancel()
	for ctx.Err() == nil {
		if err := vm.PowerButton(ctx); err != nil {
			return err
		}
		heeded, cancel := context.WithTimeout(ctx, time.Second)
		err := vm.WaitConsole(heeded, "shutting down")
		cancel()
		if err == nil {
			return nil
		}
	}
	return context.Cause(ctx)
}

// leaveKey is control-], as telnet has it.
const leaveKey = 0x1d

// interactive boots the guest with its console on the terminal, where it shows the boot and opens a shell.
func interactive(ctx context.Context, config guest.Config, report reportFile, o options) error {
	fmt.Print("The guest opens a shell here when it is up. To leave, type `uinit poweroff`, or control-] at any time.\n")
	if o.docker != "" {
		fmt.Print("When a container has said so, `docker run -it --rm busybox` works in it.\n")
	}
	fmt.Println()
	terminal := int(os.Stdin.Fd())
	before, err := term.MakeRaw(terminal)
	if err != nil {
		return fmt.Errorf("set the terminal to raw mode: %w", err)
	}
	defer func() { _ = term.Restore(terminal, before) }()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	errLeft := errors.New("left")
	config.Cmdline = append(config.Cmdline, "arcbox.debug_console")
	config.Timeout = 24 * time.Hour
	config.Input = &keyReader{in: os.Stdin, key: leaveKey, pressed: func() { cancel(errLeft) }}
	config.Console = os.Stdout
	vm, err := guest.Start(ctx, config)
	if err != nil {
		return err
	}
	if err := vm.Wait(); err != nil && !errors.Is(err, errLeft) {
		return err
	}
	r, err := report.read()
	if errors.Is(err, errNoReport) {
		return nil // left before there was one
	}
	if err != nil {
		return err
	}
	return report.draw(r)
}

// keyReader passes on what is typed, and calls pressed instead of passing on the key.
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
