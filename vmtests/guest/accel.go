package guest

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Accel is what runs the guest's instructions.
type Accel string

const (
	// Auto is KVM if the kernel boots under it, else TCG. The environment variable ARCINIT_ACCEL overrides it.
	Auto Accel = ""
	// KVM runs the guest on the processor.
	KVM Accel = "kvm"
	// TCG emulates the processor.
	TCG Accel = "tcg"
	// Threads is TCG with one thread for each processor.
	Threads Accel = "threads"
	// Counted is TCG with one processor whose clock is the number of instructions that it has executed, 1 ns each, and what
	// it has waited for the host. Times in the guest are then costs, nearly the same on any machine and however busy that is.
	Counted Accel = "counted"
)

// args returns the QEMU arguments for the accelerator with this number of processors.
func (a Accel) args(m machine, cpus int) []string {
	switch a {
	case KVM:
		return []string{"-accel", "kvm", "-cpu", "host"}
	case Counted:
		// With sleep=on an idle guest's clock runs as the host's does. With off it would jump to the guest's next timer, so
		// a wait of microseconds for the host may count as half a second.
		return []string{"-accel", "tcg,thread=single", "-cpu", m.cpu, "-icount", "shift=0,sleep=on", "-rtc", "base=2030-01-01,clock=vm"}
	}
	accel := "tcg"
	if cpus > 1 && a != Threads {
		// With one thread for each processor, QEMU 7.2 may keep a stale translation of code that another processor has
		// changed, such as the breakpoints by which Linux patches itself. Then the kernel dies with "Oops: int3".
		accel = "tcg,thread=single"
	}
	return []string{"-accel", accel, "-cpu", m.cpu + m.without}
}

// probeTime is the time limit for a kernel's first line under KVM. With a working KVM it takes well under a second.
const probeTime = 5 * time.Second

// ChooseAccel returns the accelerator with which Start would boot a guest.
func ChooseAccel(ctx context.Context, config Config) (Accel, error) {
	config, err := config.withDefaults(runtime.GOARCH)
	if err != nil {
		return "", err
	}
	m, err := machineFor(config.Arch)
	if err != nil {
		return "", err
	}
	return chooseAccel(ctx, config, m)
}

// chooseAccel chooses the accelerator for Auto. A guest may hang under KVM even if /dev/kvm can be opened, so this boots
// the guest's kernel to its first line. The cache directory keeps the result for this boot of the host, this kernel and
// this QEMU.
func chooseAccel(ctx context.Context, config Config, m machine) (Accel, error) {
	accel := config.Accel
	if accel == Auto {
		accel = Accel(os.Getenv("ARCINIT_ACCEL"))
	}
	switch accel {
	case KVM, TCG, Threads, Counted:
		return accel, nil
	case Auto:
	default:
		return "", fmt.Errorf("accelerator %q: want kvm, tcg, threads or counted", accel)
	}
	if config.Arch != runtime.GOARCH {
		return TCG, nil
	}
	kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return TCG, nil
	}
	_ = kvm.Close()

	note := probeNote(config.Kernel, m.qemu)
	if b, err := os.ReadFile(note); err == nil {
		if accel := Accel(b); accel == KVM || accel == TCG {
			return accel, nil
		}
	}
	accel = TCG
	if bootsUnderKVM(ctx, config.Kernel, m) {
		accel = KVM
	}
	if err := ctx.Err(); err != nil {
		return "", context.Cause(ctx)
	}
	// If the note cannot be written, the next guest probes again.
	if note != "" && os.MkdirAll(filepath.Dir(note), 0o755) == nil {
		_ = os.WriteFile(note, []byte(accel), 0o644)
	}
	return accel, nil
}

// bootsUnderKVM reports whether the kernel writes its first line under KVM.
func bootsUnderKVM(ctx context.Context, kernel string, m machine) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, m.qemu, "-nodefaults", "-no-reboot", "-display", "none",
		"-machine", m.machine, "-accel", "kvm", "-cpu", "host", "-m", "256",
		"-serial", "stdio", "-kernel", kernel, "-append", "earlycon earlyprintk=serial panic=-1 console="+m.serial)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return false
	}
	if err := cmd.Start(); err != nil {
		return false
	}
	found := false
	for lines := bufio.NewScanner(out); !found && lines.Scan(); {
		found = strings.Contains(lines.Text(), "Linux version")
	}
	cancel()
	_ = cmd.Wait()
	return found
}

// probeNote returns the file that keeps a probe's result, or "" if a later run could not tell whether it is still valid.
func probeNote(kernel, qemu string) string {
	key := sha256.New()
	bootID, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	_, _ = key.Write(bootID)
	program, err := exec.LookPath(qemu)
	if err != nil {
		return ""
	}
	for _, file := range []string{kernel, program} {
		fi, err := os.Stat(file)
		if err != nil {
			return ""
		}
		_, _ = fmt.Fprintln(key, fi.Size(), fi.ModTime().UnixNano())
	}
	cache, err := cacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(cache, "accel", fmt.Sprintf("%x", key.Sum(nil)[:16]))
}

// cacheDir returns this project's cache directory, the same as scripts/lib.sh.
func cacheDir() (string, error) {
	if dir := os.Getenv("ARCINIT_CACHE"); dir != "" {
		return dir, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache directory: %w", err)
	}
	return filepath.Join(dir, "arcinit"), nil
}
