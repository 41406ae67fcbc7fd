// Command run boots a guest in QEMU for a person to try: the distribution's kernel, three shares and two networks. On a
// terminal it opens a shell in the guest. Without a terminal it prints the boot as a table and powers the guest off. It fails
// if a step of the boot failed.
package main

import (
	"cmp"
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
	flag.StringVar(&o.build, "build", filepath.Join("build", runtime.GOARCH), "the `directory` with the example agent and Docker's disks")
	flag.StringVar(&o.boot, "boot", filepath.Join("build", runtime.GOARCH), "the `directory` with kernel and images")
	flag.StringVar(&o.agent, "agent", "", "the `program` to start as the agent, instead of the example")
	flag.StringVar(&o.report, "report", filepath.Join("build", "boot.json"), "the `file` to write the boot report to")
	flag.StringVar(&o.picture, "picture", filepath.Join("build", "boot.svg"), "the `file` to draw the boot to")
	flag.StringVar(&o.docker, "docker", "", "the container `engine` to boot, by the name of its disk in the build directory")
	flag.StringVar(&o.initrd, "initrd", "", "an initramfs `file`, which the kernel unpacks over its drivers' and over arcinit's own")
	flag.StringVar(&o.disk, "disk", "", "a disk's `file`, which the guest cannot write to: its /dev/vda")
	flag.StringVar(&o.cmdline, "cmdline", "", "further kernel `parameters`")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
		os.Exit(1)
	}
}

type options struct {
	arch, build, boot, agent, report, picture, docker, initrd, disk, cmdline string
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "arcinit-run-")
	if err != nil {
		return fmt.Errorf("make a directory for the shares: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	config := guest.Config{
		Arch:    o.arch,
		Kernel:  filepath.Join(o.boot, "vmlinuz-stock"),
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
	if err := installAgent(o, filepath.Join(arcbox, "bin", "arcbox-agent")); err != nil {
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
	if o.disk != "" {
		config.Disks = append(config.Disks, guest.Disk{File: o.disk})
		interactiveInitrd = unattendedInitrd
	}
	config.Cmdline = append(config.Cmdline, strings.Fields(o.cmdline)...)
	log := filepath.Join(arcbox, "log")
	report := reportFile{
		share: filepath.Join(log, "boot.json"), copy: o.report,
		network: filepath.Join(log, "net.json"), picture: o.picture,
	}

	if err := chooseAccel(ctx, &config); err != nil {
		return err
	}
	onTerminal := term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd()))
	config.Initrd = filepath.Join(o.boot, unattendedInitrd)
	if onTerminal {
		config.Initrd = filepath.Join(o.boot, interactiveInitrd)
	}
	if o.initrd != "" {
		joined := filepath.Join(dir, "initrd")
		if err := join(joined, config.Initrd, o.initrd); err != nil {
			return err
		}
		config.Initrd = joined
	}
	if onTerminal {
		return interactive(ctx, config, report, o)
	}
	return unattended(ctx, config, report, o)
}

// join writes initramfs files one after the other. The kernel unpacks them in this order, so the last has the last word.
func join(target string, files ...string) error {
	var joined []byte
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read the initramfs: %w", err)
		}
		joined = append(joined, content...)
	}
	if err := write(target, joined, 0o644); err != nil {
		return fmt.Errorf("join the initramfs files: %w", err)
	}
	return nil
}

// chooseAccel chooses what runs the guest's instructions, and says why if the guest is emulated.
func chooseAccel(ctx context.Context, config *guest.Config) error {
	accel, err := guest.ChooseAccel(ctx, *config)
	if err != nil {
		return err
	}
	config.Accel = accel
	if accel == guest.KVM {
		return nil
	}
	var why string
	if config.Arch != runtime.GOARCH {
		why = "this machine has another processor"
	} else if kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err != nil {
		why = withoutKVM(err)
	} else {
		_ = kvm.Close()
		why = "with KVM its kernel does not start"
	}
	fmt.Printf("The guest is emulated, so it takes some seconds longer: %s.\n", why)
	return nil
}

// withoutKVM returns what a user can do about an error from opening /dev/kvm.
func withoutKVM(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "there is no /dev/kvm; turn virtualization on in this machine's firmware or, if it is virtual itself, on its host"
	case errors.Is(err, fs.ErrPermission):
		return "this user may not open /dev/kvm; join its group with `sudo usermod -aG kvm $USER`, and log in again"
	}
	return err.Error()
}

// installAgent puts the agent on the share: the user's program or the example.
func installAgent(o options, target string) error {
	program, err := os.ReadFile(cmp.Or(o.agent, filepath.Join(o.build, "example-agent")))
	if err != nil {
		return fmt.Errorf("read the agent: %w", err)
	}
	if err := write(target, program, 0o755); err != nil {
		return fmt.Errorf("put the agent on the share: %w", err)
	}
	return nil
}

// reportFile names the files of the boot report. share is the guest's file, and copy is a copy that stays on the host. network
// is the network report, which only the example agent copies to the share. picture is drawn from both reports.
type reportFile struct {
	share, copy, network, picture string
}

// draw draws the boot with cmd/arcinit, which make builds beside this program.
func (f reportFile) draw(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find arcinit: %w", err)
	}
	args := []string{"plot", f.copy}
	if _, err := os.Stat(f.network); err == nil {
		args = append(args, f.network)
	}
	plot := exec.CommandContext(ctx, filepath.Join(filepath.Dir(self), "arcinit"), args...)
	plot.Stderr = os.Stderr
	svg, err := plot.Output()
	if err != nil {
		return fmt.Errorf("draw the boot: %w", err)
	}
	if err := write(f.picture, svg, 0o644); err != nil {
		return fmt.Errorf("keep the picture of the boot: %w", err)
	}
	fmt.Printf("The boot's report is %s, and its picture %s.\n", f.copy, f.picture)
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
	fmt.Println()
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

// shellMark is how uinit says on the console that its shell is there.
const shellMark = "press enter.\r\n"

// suggestions returns what a user can try in the guest's shell.
func suggestions(o options, config guest.Config) string {
	if o.docker != "" {
		return `
Try:
    uinit report                        each step of the boot with its time, the services, and the network
    docker run -it --rm busybox         a container, once the first has said hello here
    uinit poweroff                      an orderly shutdown; the images are kept for the next run

`
	}
	return fmt.Sprintf(`
Try:
    uinit report                        each step of the boot with its time, the services, and the network
    kill -9 $(pidof arcbox-agent)       arcinit starts the agent again: see STARTS in uinit report
    echo hello >/arcbox/hello           a file on the host: %s/hello

`, config.Shares[0].Dir)
}

// leaveKey is control-], the same as telnet's.
const leaveKey = 0x1d

// interactive boots the guest with its console on the terminal, where it shows the boot and opens a shell.
func interactive(ctx context.Context, config guest.Config, report reportFile, o options) error {
	fmt.Print("The guest starts. It opens a shell here. To leave, type `uinit poweroff`, or control-] at any time.\n\n")
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
	suggested := make(chan struct{})
	go func() {
		defer close(suggested)
		if vm.WaitConsole(boot, shellMark) == nil {
			fmt.Print(strings.ReplaceAll(suggestions(o, config), "\n", "\r\n"))
		}
	}()
	defer func() { <-suggested }()
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
