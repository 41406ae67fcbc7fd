//go:build vmtest

package guest

import (
	"cmp"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/u-root/mkuimage/cpio"
)

// arch returns the guests' architecture.
func arch() string {
	return cmp.Or(os.Getenv("ARCH"), runtime.GOARCH)
}

// image builds an initramfs with testdata/init as its only file.
func image(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", dir+"/init", "./testdata/init")
	build.Env = append(os.Environ(), "GOARCH="+arch(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the guest's init: %v\n%s", err, out)
	}
	program, err := os.ReadFile(dir + "/init")
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(dir + "/image")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	w := cpio.Newc.Writer(f)
	if err := cpio.WriteRecords(w, []cpio.Record{cpio.StaticFile("init", string(program), 0o755)}); err != nil {
		t.Fatal(err)
	}
	if err := cpio.WriteTrailer(w); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

func testConfig(t *testing.T) Config {
	t.Helper()
	build := os.Getenv("ARCINIT_BUILD")
	if build == "" {
		build = filepath.Join("..", "..", "build", arch())
	}
	kernel, err := filepath.Abs(filepath.Join(build, "vmlinuz-stock"))
	if err != nil {
		t.Fatal(err)
	}
	return Config{Arch: arch(), Kernel: kernel, Initrd: image(t), Cmdline: []string{"quiet"}}
}

// assertNothingLeft fails the test if the guest's sockets, or programs that use them, are left.
func assertNothingLeft(t *testing.T, vm *VM) {
	t.Helper()
	dir := filepath.Dir(vm.qmp.listener.Addr().String())
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("sockets left behind in %s: %v", dir, err)
	}
	cmdlines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range cmdlines {
		if b, err := os.ReadFile(file); err == nil && strings.Contains(string(b), dir) {
			t.Errorf("still running: %s", strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
}

func TestGuestReportsAndPowersOff(t *testing.T) {
	share := t.TempDir()
	if err := os.WriteFile(share+"/from-host", []byte("host"), 0o600); err != nil {
		t.Fatal(err)
	}
	var lines []string
	config := testConfig(t)
	config.Cmdline = append(config.Cmdline, "test=flood", "test=typed", "test=sent")
	config.Shares = []Share{{Tag: "test", Dir: share}, {Tag: "other", Dir: t.TempDir()}}
	config.NICs = []NIC{PrimaryNIC(), BridgeNIC(), SilentNIC()}
	config.Ports = []Port{{Name: "other"}, {Name: "report", Line: func(line []byte) { lines = append(lines, string(line)) }}}
	vm, err := Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if err := vm.Send("other", "sent early"); err != nil {
		t.Fatal(err)
	}
	if err := vm.WaitConsole(t.Context(), "type something"); err != nil {
		t.Fatal(err)
	}
	if err := vm.Type("hello\r"); err != nil {
		t.Fatal(err)
	}
	if err := vm.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`share: "host" <nil>`, "typed: hello", "sent: sent early", "a line without an end"} {
		if !slices.Contains(lines, want) {
			t.Errorf("the guest did not report %q, but %q", want, lines)
		}
	}
	if n := strings.Count(vm.ConsoleText(), strings.Repeat("x", 78)); n != 2000 {
		t.Errorf("%d of 2000 lines came over the console", n)
	}
	if b, err := os.ReadFile(share + "/from-guest"); err != nil || string(b) != "guest" {
		t.Errorf("what the guest wrote on the share is %q, %v", b, err)
	}
	if got := vm.ShutdownReason(); got != "guest-shutdown" {
		t.Errorf("QEMU ended because of %s", got)
	}
	assertNothingLeft(t, vm)
}

func TestGuestReboots(t *testing.T) {
	config := testConfig(t)
	config.Cmdline = append(config.Cmdline, "test=reboot")
	vm, err := Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if err := vm.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := vm.ShutdownReason(); got != "guest-reset" {
		t.Errorf("QEMU ended because of %s", got)
	}
}

func TestKernelPanicIsReported(t *testing.T) {
	config := testConfig(t)
	config.Cmdline = append(config.Cmdline, "test=panic")
	vm, err := Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if err := vm.WaitConsole(t.Context(), "never written"); !errors.Is(err, ErrPanic) {
		t.Errorf("WaitConsole said %v", err)
	}
	if err := vm.Wait(); !errors.Is(err, ErrPanic) || !strings.Contains(err.Error(), "Attempted to kill init") {
		t.Errorf("Wait said %v", err)
	}
	assertNothingLeft(t, vm)
}

func TestGuestThatHangs(t *testing.T) {
	for name, test := range map[string]struct {
		timeout time.Duration
		end     func(vm *VM, cancel context.CancelFunc)
		want    error
	}{
		"timeout": {8 * time.Second, func(*VM, context.CancelFunc) {}, ErrTimeout},
		"kill":    {0, func(vm *VM, _ context.CancelFunc) { vm.Kill() }, ErrKilled},
		"cancel":  {0, func(_ *VM, cancel context.CancelFunc) { cancel() }, context.Canceled},
		"stop":    {0, func(vm *VM, _ context.CancelFunc) { go func() { _ = vm.Stop(context.Background()) }() }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			config := testConfig(t)
			config.Cmdline = append(config.Cmdline, "test=hang")
			config.Shares = []Share{{Tag: "test", Dir: t.TempDir()}}
			config.Timeout = test.timeout
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			vm, err := Start(ctx, config)
			if err != nil {
				t.Fatal(err)
			}
			// The timeout counts from the start of the guest.
			if test.timeout == 0 {
				if err := vm.WaitConsole(t.Context(), "hanging"); err != nil {
					t.Fatal(err)
				}
			}
			test.end(vm, cancel)
			if err := vm.Wait(); !errors.Is(err, test.want) {
				t.Errorf("Wait said %v, want %v", err, test.want)
			}
			assertNothingLeft(t, vm)
		})
	}
}

func TestQEMURefuses(t *testing.T) {
	config := testConfig(t)
	config.ExtraQEMU = []string{"-no-such-option"}
	vm, err := Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if err := vm.Wait(); err == nil || !strings.Contains(err.Error(), "no-such-option") {
		t.Errorf("Wait said %v", err)
	}
	assertNothingLeft(t, vm)
}
