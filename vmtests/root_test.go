//go:build vmtest

package vmtests

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/arcinit/arcinit/vmtests/guest"
	"github.com/arcinit/arcinit/vmtests/probe"
)

// ballast is a large file in the initramfs, whose memory can be seen to be freed.
func ballast() map[string]string {
	return map[string]string{"/ballast": strings.Repeat("initramfs", 64<<20/9)}
}

// unevictable returns the guest's unevictable memory in MiB. That is, above all, the
// files of a ramfs (Documentation/filesystems/proc.rst).
func unevictable(t *testing.T, m *machine) (mib int) {
	t.Helper()
	for line := range strings.Lines(m.read(t, "/proc/meminfo")) {
		if _, err := fmt.Sscanf(line, "Unevictable: %d kB", &mib); err == nil {
			return mib >> 10
		}
	}
	t.Fatal("no Unevictable in /proc/meminfo")
	return 0
}

// root returns the mount on / that PID 1 and the agent share.
func root(t *testing.T, m *machine) *probe.Mount {
	t.Helper()
	mp := mount(must[[]probe.Mount](t, m, "Mounts", none{}), "/")
	if mp == nil {
		t.Fatal("nothing is mounted on /")
	}
	line := regexp.MustCompile("(?m)^.* / / .*$").FindString(m.read(t, "/proc/1/mountinfo"))
	if !strings.Contains(line, " - "+mp.FSType+" "+mp.Source+" ") {
		t.Errorf("PID 1's root is %q, the agent's %+v", line, mp)
	}
	return mp
}

// TestSwapIn boots a container VM's own disk, by its own command line, with
// arcinit in place of the disk's trampoline.
func TestSwapIn(t *testing.T) {
	t.Parallel()
	im := fullGuest()
	files := im.files
	// The disk's own command line, and no more.
	im.cmdline = []string{"root=/dev/vda", "ro", "rootfstype=erofs"}
	files["/etc/arcbox/vmm.toml"] = im.shared["vmm.toml"]
	im.disks = []guest.Disk{{File: erofsDisk(t, swapinTree(t, files))}}
	im.files = ballast()
	m := boot(t, im)
	testRows(&rows{T: t, m: m}, m)
	t.Run("root", func(t *testing.T) {
		mp := root(t, m)
		if mp.FSType != "erofs" || mp.Source != "/dev/vda" || !slices.Contains(mp.Options, "ro") {
			t.Errorf("/ is %+v", mp)
		}
		if got := m.read(t, "/proc/1/root/sbin/init"); !strings.HasPrefix(got, "#!/bin/sh") {
			t.Errorf("the root of PID 1 has the /sbin/init %.20q, want the disk's", got)
		}
		if got := m.stat(t, "/proc/1/exe").Target; got != "/bin/uinit (deleted)" {
			t.Errorf("PID 1 is %q", got)
		}
		testPivot(t, m)
	})
	t.Run("freed", func(t *testing.T) {
		// Modules and the program stay in memory.
		if got := unevictable(t, m); got >= 32 {
			t.Errorf("the initramfs still takes %d MiB", got)
		}
	})
	t.Run("busybox", func(t *testing.T) {
		r := m.run(t, "/bin/sh", "-c", "ip -4 -o address show eth0 && grep arcbox /proc/mounts && echo $PATH && uinit version")
		for _, want := range []string{"10.0.2.15/24", "arcbox /arcbox virtiofs", ":/run/arcbox/bin\n"} {
			if r.Code != 0 || !strings.Contains(r.Stdout, want) {
				t.Errorf("the disk's shell ended with code %d, without %q: %s%s", r.Code, want, r.Stdout, r.Stderr)
			}
		}
	})
	t.Run("iptables-legacy", func(t *testing.T) {
		const module = "/sys/module/iptable_mangle"
		if there := must[[]string](t, m, "Glob", module); len(there) != 0 {
			t.Fatalf("%s is loaded before iptables needs it", module)
		}
		for _, args := range []string{"-t mangle -A FORWARD -i eth1 -j MARK --set-mark 7", "-t mangle -S FORWARD"} {
			r := m.run(t, append([]string{"/sbin/iptables"}, strings.Fields(args)...)...)
			if r.Code != 0 {
				t.Errorf("iptables %s: code %d: %s", args, r.Code, r.Stderr)
			}
			if strings.Contains(args, "-S") && !strings.Contains(r.Stdout, "-A FORWARD -i eth1 -j MARK") {
				t.Errorf("iptables %s: %s", args, r.Stdout)
			}
		}
		m.stat(t, module)
	})
	t.Run("again", func(t *testing.T) { testAgain(t, m) })
	t.Run("report", func(t *testing.T) { testReport(t, m) })
	t.Run("agent/restarted", func(t *testing.T) { m.crash(t, 3) })
	t.Run("poweroff", func(t *testing.T) { testPowerOff(t, m) })
}

// TestRootWithoutMountPoints boots a read-only root that lacks /private, /media and /tmp.
func TestRootWithoutMountPoints(t *testing.T) {
	t.Parallel()
	im := fullGuest()
	files := im.files
	files["/etc/arcbox/vmm.toml"] = im.shared["vmm.toml"]
	tree := swapinTree(t, files)
	command(t, "", "rm", "-r", filepath.Join(tree, "private"), filepath.Join(tree, "media"), filepath.Join(tree, "tmp"))
	im.disks, im.files = []guest.Disk{{File: erofsDisk(t, tree)}}, nil
	im.cmdline = []string{"root=/dev/vda", "ro", "rootfstype=erofs"}
	eachKernel(t, func(t *testing.T, k kernel) {
		if filepath.Ext(k.initrd) != ".cpio" {
			return // the kernel mounts the root
		}
		m := boot(t, k.on(t, im))
		testRows(&rows{T: t, kernel: k, m: m}, m)
		mp := root(t, m)
		if mp.Source != "/dev/vda" || !slices.Contains(mp.Options, "ro") {
			t.Errorf("/ is %+v", mp)
		}
		if r := m.run(t, "/bin/sh", "-c", "df / && ! touch /file"); r.Code != 0 || !strings.Contains(r.Stdout, "/dev/vda") || !strings.HasSuffix(r.Stdout, " /\n") {
			t.Errorf("df: %d, %s%s", r.Code, r.Stdout, r.Stderr)
		}
		testPivot(t, m)
		t.Run("again", func(t *testing.T) { testAgain(t, m) })
		t.Run("poweroff", func(t *testing.T) { testPowerOff(t, m) })
	})
}

// TestRootByLabel boots a writable root that has its own modules. The command line
// does not name its type. Links are in the place of /tmp and /etc.
func TestRootByLabel(t *testing.T) {
	t.Parallel()
	tree := swapinTree(t, nil)
	command(t, "", "cp", "-a", filepath.Join(built(t, "modules"), "lib/modules"), filepath.Join(tree, "lib/"))
	for link, target := range map[string]string{"tmp": "scratch", "etc": "usr/etc"} {
		command(t, "", "rm", "-rf", filepath.Join(tree, link))
		command(t, "", "mkdir", "-p", filepath.Join(tree, target))
		command(t, "", "ln", "-s", target, filepath.Join(tree, link))
	}
	m := boot(t, image{
		disks: []guest.Disk{{File: ext4Disk(t, tree, "the root"), Writable: true}},
		nics:  bothNICs(), tools: true,
		cmdline: []string{quiet, `"root=LABEL=the`, `root"`, "rw", "rootflags=commit=7"},
	})
	comesUp(t, m)
	mp := root(t, m)
	if mp.FSType != "ext4" || !slices.Contains(mp.Options, "rw") || !slices.Contains(mp.SuperOptions, "commit=7") {
		t.Errorf("/ is %+v", mp)
	}
	must[none](t, m, "WriteFile", writeFile{"/root/file", []byte("hello")})
	if got := must[[]string](t, m, "Glob", "/run/arcbox/initramfs*"); len(got) != 0 {
		t.Errorf("%v was kept, but the root has its own modules", got)
	}
	outcome(t, m, "netfilter", "ok")
	if r := m.run(t, "/sbin/iptables", "-t", "mangle", "-S"); r.Code != 0 {
		t.Errorf("iptables: %s", r.Stderr)
	}
	address(t, m, "eth0", "10.0.2.15/24")
	address(t, m, "eth1", "192.168.64.15/24")
	t.Run("again", func(t *testing.T) { testAgain(t, m) })
}

// TestRootComesLater plugs the disk in while the guest waits for a partition of it.
// The disk is read-only, although the command line has rw.
func TestRootComesLater(t *testing.T) {
	t.Parallel()
	const uuid = "1B4E28BA-2FA1-11D2-883F-B9A761BDE3FB"
	disk := gptDisk(t, erofsDisk(t, swapinTree(t, nil)), uuid, "system")
	m := boot(t, image{
		nics: bothNICs(), qemu: []string{"-device", "pcie-root-port,id=socket,chassis=1,slot=1"},
		cmdline: []string{quiet, "root=PARTUUID=" + strings.ToLower(uuid), "rootfstype=ext4,erofs", "rw", "rootwait"},
	})
	said(t, m, "arcinit: ", "root=PARTUUID="+strings.ToLower(uuid)) // the guest waits
	plugIn(t, m, disk, "socket")
	comesUp(t, m)
	if mp := root(t, m); mp.FSType != "erofs" || mp.Source != "/dev/vda2" || !slices.Contains(mp.Options, "ro") {
		t.Errorf("/ is %+v", mp)
	}
	outcome(t, m, "switchroot", "ok", "root=PARTUUID=", "rw")
	said(t, m, "switchroot", "root=PARTUUID=", "rw")
}

// plugIn plugs a read-only disk into a free PCIe port.
func plugIn(t *testing.T, m *machine, disk, port string) {
	t.Helper()
	m.qmp(t, "blockdev-add", map[string]any{"driver": "raw", "node-name": "disk", "read-only": true,
		"file": map[string]any{"driver": "file", "filename": disk, "read-only": true}})
	m.qmp(t, "device_add", map[string]any{"driver": "virtio-blk-pci", "drive": "disk", "bus": port})
}

// TestRootByTag boots with an empty share as its root.
func TestRootByTag(t *testing.T) {
	t.Parallel()
	m := boot(t, image{tags: []string{"system"}, nics: bothNICs(),
		cmdline: []string{quiet, "root=system", "rootfstype=virtiofs", "rw"}})
	comesUp(t, m)
	if mp := root(t, m); mp.FSType != "virtiofs" || mp.Source != "system" {
		t.Errorf("/ is %+v", mp)
	}
	must[none](t, m, "WriteFile", writeFile{"/file", []byte("hello")})
	if got, err := os.ReadFile(filepath.Join(m.dirs["system"], "file")); err != nil || string(got) != "hello" {
		t.Errorf("the file holds %q on the host, %v", got, err)
	}
}

// staysOnInitramfs checks that a guest without its root comes up, and that the report
// and the console have the facts of why.
func staysOnInitramfs(t *testing.T, m *machine, why ...string) {
	t.Helper()
	comesUp(t, m, "switchroot")
	if mp := root(t, m); mp.FSType != "rootfs" {
		t.Errorf("/ is %+v", mp)
	}
	said(t, m, append([]string{"switchroot"}, why...)...)
	outcome(t, m, "switchroot", "failed", why...)
	address(t, m, "eth0", "10.0.2.15/24")
	testPivot(t, m)
}

func TestRootDoesNotCome(t *testing.T) {
	t.Parallel()
	m := boot(t, image{
		disks: []guest.Disk{{File: ext4Disk(t, t.TempDir(), "other")}}, nics: bothNICs(), files: ballast(),
		cmdline: []string{quiet, "root=LABEL=system", "rootwait=2"},
	})
	staysOnInitramfs(t, m, "root=LABEL=system", "2s", "vda", "64.0 MiB", "ext4", "LABEL=other", "UUID=")
	if got := unevictable(t, m); got < 64 {
		t.Errorf("Unevictable is %d MiB, less than the initramfs: TestSwapIn cannot see it freed", got)
	}
}

func TestRootOfAnotherType(t *testing.T) {
	t.Parallel()
	m := boot(t, image{
		disks: []guest.Disk{{File: erofsDisk(t, swapinTree(t, nil))}}, nics: bothNICs(),
		cmdline: []string{quiet, "root=/dev/vda", "rootfstype=ext4,nofs", "rootwait=soon"},
	})
	staysOnInitramfs(t, m, "root=/dev/vda", "ext4", "invalid argument", "nofs", "no such device", "vda", "MiB", "erofs", "UUID=")
	said(t, m, "switchroot", "rootwait", "soon")
}

// TestNotARoot names a file system that can be mounted, but has no mount points. The
// attempt leaves nothing behind.
func TestNotARoot(t *testing.T) {
	t.Parallel()
	m := boot(t, image{
		disks: []guest.Disk{{File: erofsDisk(t, t.TempDir())}}, nics: bothNICs(), cmdline: []string{quiet, "root=/dev/vda"},
	})
	staysOnInitramfs(t, m, "root=/dev/vda", "/dev", "read-only file system")
	for _, mp := range must[probe.AtStart](t, m, "AtStart", none{}).Mounts {
		if mp.FSType == "erofs" {
			t.Errorf("still mounted: %+v", mp)
		}
	}
	if left := must[[]string](t, m, "Glob", "/.*"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}
