package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/arcinit/arcinit/vmtests/probe"
	"golang.org/x/sys/unix"
)

// caches is the directory with the attributes of the processor's caches.
const caches = "/sys/devices/system/cpu/cpu0/cache"

// jailUser is the user and group that a VMM runs as.
const jailUser = 1234

// Jail runs a process that builds a jail in the directory like Firecracker's jailer, and
// then acts as the VMM in it.
func (g *Guest) Jail(dir string, reply *probe.Jailed) error {
	cmd := exec.Command("/proc/self/exe", "jail", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	var r probe.Result
	if err := run(cmd, &r); err != nil {
		return err
	}
	if r.Code != 0 {
		return errors.New(r.Stderr)
	}
	return json.Unmarshal([]byte(r.Stdout), reply)
}

// device is a device node that the jailer creates.
type device struct {
	path         string
	major, minor uint32
}

// jail is the process that Jail starts. It prints a probe.Jailed as JSON.
func jail(dir string) error {
	if err := buildJail(dir); err != nil {
		return err
	}
	if err := enterJail(dir); err != nil {
		return err
	}
	// From here on the process acts as the VMM.
	var saw probe.Jailed
	var err error
	if saw.Root, err = filepath.Glob("/*"); err != nil {
		return err
	}
	for _, path := range []string{"size", "coherency_line_size", "number_of_sets"} {
		found, err := filepath.Glob(caches + "/index*/" + path)
		if err != nil {
			return err
		}
		for _, file := range found {
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			saw.Caches = append(saw.Caches, strings.TrimPrefix(file, caches+"/")+" "+strings.TrimSpace(string(text)))
		}
	}
	random, err := os.Open("/dev/urandom")
	if err != nil {
		return err
	}
	if _, err := io.ReadFull(random, make([]byte, 16)); err != nil {
		return fmt.Errorf("read /dev/urandom: %w", err)
	}
	tun, err := os.Open("/dev/net/tun")
	if err != nil {
		return err
	}
	if saw.TUN, err = unix.IoctlGetUint32(int(tun.Fd()), unix.TUNGETFEATURES); err != nil {
		return fmt.Errorf("features of /dev/net/tun: %w", err)
	}
	kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
		return json.NewEncoder(os.Stdout).Encode(saw) // the kernel has no KVM
	}
	if err != nil {
		return err
	}
	if saw.MicroVM, err = microVM(kvm); err != nil {
		return fmt.Errorf("run a micro-VM: %w", err)
	}
	return json.NewEncoder(os.Stdout).Encode(saw)
}

// buildJail copies the caches' attributes into the jail and creates devices.
// Firecracker's jailer fails if an attribute is missing.
func buildJail(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "dev", "net"), 0o755); err != nil {
		return err
	}
	indexes, err := filepath.Glob(caches + "/index*")
	if err != nil || len(indexes) == 0 {
		return fmt.Errorf("the kernel does not describe its caches: %w", errors.Join(err, os.ErrNotExist))
	}
	for _, index := range indexes {
		if err := os.MkdirAll(filepath.Join(dir, index), 0o755); err != nil {
			return err
		}
		for _, name := range []string{"level", "type", "size", "coherency_line_size", "number_of_sets", "shared_cpu_map"} {
			text, err := os.ReadFile(filepath.Join(index, name))
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, index, name), text, 0o444); err != nil {
				return err
			}
		}
	}
	for _, d := range []device{{"dev/kvm", 10, 232}, {"dev/net/tun", 10, 200}, {"dev/urandom", 1, 9}} {
		path := filepath.Join(dir, d.path)
		if err := unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(d.major, d.minor))); err != nil {
			return fmt.Errorf("mknod %s: %w", path, err)
		}
		if err := os.Chown(path, jailUser, jailUser); err != nil {
			return err
		}
	}
	return nil
}

// enterJail makes the directory this process's root and drops its privileges.
func enterJail(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	if err := unix.Mount(dir, dir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s to itself: %w", dir, err)
	}
	if err := os.Chdir(dir); err != nil {
		return err
	}
	if err := os.Mkdir("old", 0o700); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "old"); err != nil {
		return fmt.Errorf("pivot_root to %s: %w", dir, err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := unix.Unmount("old", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the old root: %w", err)
	}
	if err := os.Remove("old"); err != nil {
		return err
	}
	if err := syscall.Setgid(jailUser); err != nil {
		return fmt.Errorf("become group %d: %w", jailUser, err)
	}
	if err := syscall.Setuid(jailUser); err != nil {
		return fmt.Errorf("become user %d: %w", jailUser, err)
	}
	return nil
}
