package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"

	"github.com/hugelgupf/vmtest/qemu"
)

// How a guest can end, other than by powering off or by [VM.Stop].
var (
	// ErrTimeout means that the guest ran longer than Config.Timeout allows.
	ErrTimeout = errors.New("guest did not end in time and was killed")
	// ErrPanic means that the guest's kernel panicked.
	ErrPanic = errors.New("kernel panic in the guest")
	// ErrKilled means that Kill was called.
	ErrKilled = errors.New("guest was killed")
)

// errEnded is why waiting for something in the guest is in vain.
var errEnded = errors.New("guest has ended")

// VM is a running guest, or one that has ended.
type VM struct {
	vm      *qemu.VM
	console *console
	qmp     *monitor
	ports   map[string]*port
	cancel  context.CancelCauseFunc

	ended chan struct{} // err is settled
	err   error
}

// Start boots a guest. It runs until it powers off, reboots or panics, until Kill or Stop, until the context is done or
// until Config.Timeout. Then everything that was started for it is cleaned up, and Wait returns how it ended. If Start
// returns an error, it has cleaned up too.
func Start(ctx context.Context, config Config, extra ...qemu.Fn) (_ *VM, err error) {
	config, err = config.withDefaults(runtime.GOARCH)
	if err != nil {
		return nil, err
	}
	m, err := machineFor(config.Arch)
	if err != nil {
		return nil, err
	}
	accel, err := chooseAccel(ctx, config, m)
	if err != nil {
		return nil, err
	}

	if _, err := exec.LookPath(m.qemu); err != nil && os.Getenv("VMTEST_QEMU") == "" {
		return nil, fmt.Errorf("find QEMU: %w", err)
	}

	// The path must be short: a socket's has at most 107 bytes (unix(7)).
	dir, err := os.MkdirTemp("/tmp", "arcinit-vm-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for a guest's sockets: %w", err)
	}
	sockets := sockets{dir: dir}

	// cleanups undo, in reverse order, everything that is started below.
	var cleanups []func()
	cleanup := func() {
		for i := len(cleanups) - 1; i >= 0; i-- {
			cleanups[i]()
		}
	}
	cleanups = append(cleanups, func() { _ = os.RemoveAll(dir) })
	defer func() {
		if err != nil {
			cleanup()
		}
	}()

	vm := &VM{console: newConsole(), ports: make(map[string]*port), ended: make(chan struct{})}
	ctx, stopTimer := context.WithTimeoutCause(ctx, config.Timeout, fmt.Errorf("%w (after %v)", ErrTimeout, config.Timeout))
	ctx, vm.cancel = context.WithCancelCause(ctx)
	cleanups = append(cleanups, stopTimer, func() { vm.cancel(nil) })

	var daemons []*daemon
	for i, share := range config.Shares {
		d, err := serveShare(share, sockets.share(i))
		if err != nil {
			return nil, err
		}
		daemons = append(daemons, d)
		cleanups = append(cleanups, d.stop)
	}
	for i, port := range config.Ports {
		p, err := servePort(port, sockets.port(i))
		if err != nil {
			return nil, err
		}
		vm.ports[port.Name] = p
		cleanups = append(cleanups, p.close)
	}
	if vm.qmp, err = listenQMP(sockets.qmp()); err != nil {
		return nil, err
	}
	cleanups = append(cleanups, vm.qmp.close)

	vm.vm, err = qemu.StartContext(ctx, qemu.Arch(config.Arch), append([]qemu.Fn{
		qemuCommand(m),
		qemu.WithKernel(config.Kernel),
		qemu.WithInitramfs(config.Initrd),
		qemu.WithAppendKernel("console=" + config.console(m)),
		qemu.HaltOnKernelPanic(),
		qemu.WithAppendKernel(config.Cmdline...),
		qemu.WithQEMUArgs(config.qemuArgs(m, accel, sockets)...),
		qemu.WithSerialOutput(vm.console),
		copyTo(config.Console),
	}, extra...)...)
	if err != nil {
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	if config.Input != nil {
		// This ends when either side is closed. A read from a terminal cannot be interrupted, so nothing waits for it.
		go func() { _, _ = io.Copy(vm.vm.Console, config.Input) }()
	}

	go func() {
		defer close(vm.ended)
		// Wait also drains the console; otherwise the guest would block on a full pipe.
		qemuErr := vm.vm.Wait()
		cause := context.Cause(ctx)
		cleanup()
		vm.err = vm.verdict(cause, qemuErr, daemons)
	}()
	return vm, nil
}

// panicMark starts the kernel's message about a panic.
const panicMark = "Kernel panic - not syncing"

// verdict returns why the guest ended: nil if it powered off or was stopped.
func (vm *VM) verdict(cause, qemuErr error, daemons []*daemon) error {
	text := vm.ConsoleText()
	if before, after, panicked := strings.Cut(text, panicMark); panicked {
		// The reason is in this line and before it. After it comes a long backtrace.
		return fmt.Errorf("%w:\n%s%s%s", ErrPanic, lastLines(before, 15), panicMark, firstLine(after))
	}
	var err error
	switch {
	case cause != nil:
		err = cause
	case qemuErr != nil:
		err = fmt.Errorf("QEMU: %w", qemuErr)
		for _, d := range daemons {
			if said := d.output.String(); said != "" {
				err = fmt.Errorf("%w\nvirtiofsd for share %s:\n%s", err, d.tag, lastLines(said, 10))
			}
		}
	default:
		return nil
	}
	return fmt.Errorf("%w; last lines of the console:\n%s", err, lastLines(text, 25))
}

// Wait waits until the guest has ended and everything is cleaned up. It returns nil if the guest ended itself or by Stop,
// else an error with the reason and the console's last lines. It can be called more than once.
func (vm *VM) Wait() error {
	<-vm.ended
	return vm.err
}

// Ended is closed when the guest has ended and everything is cleaned up.
func (vm *VM) Ended() <-chan struct{} {
	return vm.ended
}

// ShutdownReason waits for the end and returns QEMU's name for its reason, such as guest-shutdown, guest-reset or
// host-qmp-quit. It is empty if QEMU was killed.
func (vm *VM) ShutdownReason() string {
	<-vm.ended
	return vm.qmp.reason
}

// ConsoleText returns the guest's console output so far.
func (vm *VM) ConsoleText() string {
	text, _ := vm.console.snapshot()
	return text
}

// WaitConsole waits until the console output, from the guest's start on, contains the text.
func (vm *VM) WaitConsole(ctx context.Context, text string) error {
	_, err := vm.console.wait(ctx, regexp.MustCompile(regexp.QuoteMeta(text)), vm.ended)
	if err != nil {
		return fmt.Errorf("wait for %q on the guest's console: %w", text, vm.why(err))
	}
	return nil
}

// WaitMatch is WaitConsole with a regular expression. It returns the match and its groups.
func (vm *VM) WaitMatch(ctx context.Context, re *regexp.Regexp) ([]string, error) {
	m, err := vm.console.wait(ctx, re, vm.ended)
	if err != nil {
		return nil, fmt.Errorf("wait for %q on the guest's console: %w", re, vm.why(err))
	}
	return m, nil
}

// why replaces errEnded by the reason for the end, if there is one.
func (vm *VM) why(err error) error {
	if errors.Is(err, errEnded) && vm.err != nil {
		return vm.err
	}
	if errors.Is(err, errEnded) {
		return fmt.Errorf("%w; last lines of the console:\n%s", err, lastLines(vm.ConsoleText(), 25))
	}
	return err
}

// Type types text on the guest's console.
func (vm *VM) Type(text string) error {
	if _, err := io.WriteString(vm.vm.Console, text); err != nil {
		return fmt.Errorf("type on the guest's console: %w", err)
	}
	return nil
}

// Send writes a line to a port. The line waits until the guest opens the port and reads it.
func (vm *VM) Send(port, line string) error {
	p, ok := vm.ports[port]
	if !ok {
		return fmt.Errorf("send to port %s: no such port", port)
	}
	if err := p.send(line); err != nil {
		return fmt.Errorf("send to port %s: %w", port, err)
	}
	return nil
}

// QMP runs a command of QEMU's control protocol, such as stop, cont or set_link, and returns the answer. The arguments
// are marshalled as JSON; nil means none.
func (vm *VM) QMP(ctx context.Context, command string, arguments any) (json.RawMessage, error) {
	answer, err := vm.qmp.execute(ctx, command, arguments)
	if err != nil {
		return nil, fmt.Errorf("QEMU command %s: %w", command, err)
	}
	return answer, nil
}

// PowerButton presses the guest's power button.
func (vm *VM) PowerButton(ctx context.Context) error {
	_, err := vm.QMP(ctx, "system_powerdown", nil)
	return err
}

// Stop ends the guest as pulling the plug would, and returns Wait's error. It is no error if the guest has already ended.
func (vm *VM) Stop(ctx context.Context) error {
	if _, err := vm.QMP(ctx, "quit", nil); err != nil && !errors.Is(err, errEnded) {
		return err
	}
	return vm.Wait()
}

// Kill kills QEMU. Wait then returns ErrKilled, unless the guest had already ended. It can be called at any time.
func (vm *VM) Kill() {
	vm.cancel(ErrKilled)
}

// CommandLine returns the QEMU command line, quoted for a shell.
func (vm *VM) CommandLine() string {
	return vm.vm.CmdlineQuoted()
}

// qemuCommand chooses the QEMU program, unless the environment variable VMTEST_QEMU does.
func qemuCommand(m machine) qemu.Fn {
	return func(_ *qemu.IDAllocator, opts *qemu.Options) error {
		if opts.QEMUCommand != "" {
			return nil
		}
		opts.QEMUCommand = m.qemu
		// A test that exceeds go test's time limit cannot clean up, so QEMU is killed with it.
		// BusyBox has another setpriv.
		if exec.Command("setpriv", "--pdeathsig", "KILL", "--", "true").Run() == nil {
			opts.QEMUCommand = "setpriv --pdeathsig KILL -- " + m.qemu
		}
		return nil
	}
}

// copyTo also writes the console to w, if w is not nil.
func copyTo(w io.Writer) qemu.Fn {
	if w == nil {
		return nil
	}
	return qemu.WithSerialOutput(nopCloser{w})
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
