//go:build vmtest

package vmtests

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/arcinit/arcinit/vmtests/guest"
	"github.com/arcinit/arcinit/vmtests/probe"
)

// todaysTree lays out a disk as today's ArcBox does, with a container engine: busybox is /sbin/init, and a script mounts the share
// and runs the agent. There is no /private and no /media/rosetta.
func todaysTree(t *testing.T, files map[string]string) (tree string) {
	t.Helper()
	tree = filepath.Join(t.TempDir(), "tree")
	command(t, "", "fsck.erofs", "--extract="+tree, built(t, "docker/28.5-nft.erofs"))
	kept := []string{"tmp", "run", "proc", "sys", "dev", "mnt", "arcbox", "Users", "etc", "var", "export", "usr", "bin", "sbin", "lib", "lib64"}
	dirs, err := os.ReadDir(tree)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if !slices.Contains(kept, dir.Name()) {
			command(t, "", "rm", "-rf", filepath.Join(tree, dir.Name()))
		}
	}
	for _, dir := range kept {
		command(t, "", "mkdir", "-p", filepath.Join(tree, dir))
	}
	addFiles(t, tree, files)
	addFiles(t, tree, map[string]string{
		"etc/inittab": "::sysinit:/etc/init.d/rcS\n::respawn:/arcbox/bin/arcbox-agent\n",
		"etc/init.d/rcS": "#!/bin/sh\nmount -t proc proc /proc\nmount -t sysfs sysfs /sys\nmount -t devtmpfs dev /dev\nmount -t virtiofs arcbox /arcbox\n" +
			"/arcbox/bin/arcbox-agent init\nfor dir in /etc /run /var /tmp; do grep -q \" $dir \" /proc/mounts || poweroff -f; done\n",
	})
	init := filepath.Join(tree, "usr/sbin/init")
	command(t, "", "ln", "-sf", "../bin/busybox", init)
	return tree
}

// TestToday boots the disk of today's ArcBox by its own command line, with arcinit's initramfs added, and with uinit as the disk's
// /sbin/init. Then it does what today's agent does.
func TestToday(t *testing.T) {
	t.Parallel()
	if !slices.Contains(strings.Fields(os.Getenv("ENGINES")), "28.5-nft") {
		t.Skip("ENGINES does not name 28.5-nft")
	}
	for _, way := range []string{"initramfs", "init"} {
		t.Run(way, func(t *testing.T) {
			im := fullGuest()
			im.files["/etc/arcbox/vmm.toml"] = im.shared["vmm.toml"]
			im.files["/export/none"], im.shared["config/docker-engine.json"] = "", `{"log-level": "debug", "allow-direct-routing": false}`
			tree := todaysTree(t, im.files)
			if way == "init" {
				command(t, "", "rm", filepath.Join(tree, "usr/sbin/init"))
				uinit := filepath.Join(t.TempDir(), "uinit")
				command(t, "", "fsck.erofs", "--extract="+uinit, built(t, "disk.erofs"))
				command(t, "", "cp", filepath.Join(uinit, "sbin/init"), filepath.Join(tree, "usr/sbin/init"))
				im.kernel, im.noInitrd = "kernel", true
			}
			data := fill(t, empty(t, 512), "btrfs", "docker")
			im.disks, im.files = []guest.Disk{{File: erofsDisk(t, tree)}, {File: data, Writable: true}}, nil
			im.cmdline = strings.Fields("root=/dev/vda ro rootfstype=erofs swiotlb=noforce loglevel=8 arcbox.guest_docker_vsock_port=2375 " +
				"arcbox.container_network=10.200.0.0/16 arcbox.docker_data_device=/dev/vdb arcbox.docker_metadata_device=/dev/vdc " +
				"arcbox.runtime_generation=7 arcbox.machine_id=1 arcbox.machine_name=x arcbox.storage_recovery=none arcbox.debug_console=/host/socket")
			im.cpus, im.memory, im.timeout, im.virtioConsole = 2, 1536, 8*time.Minute, true
			testToday(t, boot(t, im))
			command(t, "", "btrfs", "check", data)
		})
	}
}

func testToday(t *testing.T, m *machine) {
	m.putImage(t)
	testRows(&rows{T: t, m: m}, m)
	testPivot(t, m)
	if mp := root(t, m); mp.Source != "/dev/vda" || !slices.Contains(mp.Options, "ro") {
		t.Errorf("/ is %+v", mp)
	}
	daemon := m.read(t, "/etc/docker/daemon.json")
	for _, want := range []string{`"bip": "10.200.0.1/24"`, `"base": "10.200.0.0/16"`, `"size": 24`, `"allow-direct-routing": true`, `"log-level": "debug"`} {
		if !strings.Contains(daemon, want) {
			t.Errorf("daemon.json lacks %s: %s", want, daemon)
		}
	}
	outcome(t, m, "docker", "ok", "allow-direct-routing")
	outcome(t, m, "config", "already")
	eventually(t, func() string {
		if got := hostStatus(t, m, "console"); got.PID == 0 {
			return "no shell is on the console"
		}
		return ""
	})
	t.Run("again", func(t *testing.T) { testAgain(t, m) })

	must[none](t, m, "Mount", probe.MountRequest{Source: "/dev/vdb", Target: "/var/lib/docker", FSType: "btrfs"})
	d := &dockerGuest{machine: m}
	must[int](t, m, "Start", probe.Daemon{Argv: []string{"containerd"}, Log: "/arcbox/containerd.log"})
	d.startEngine(t)
	d.docker(t, "import", "/arcbox/image.tar", "busybox")
	if got := d.docker(t, "run", "--rm", "busybox", "sh", "-c", "ip -4 -o address show eth0"); !strings.Contains(got, " 10.200.0.") {
		t.Errorf("the container's address: %s", got)
	}
	// FEX, by a program that runs here: the handler of another processor's programs, which a second run leaves alone.
	m.run(t, "/arcbox/bin/arcbox-agent", "copy", "/arcbox/bin/arcbox-agent", "/run/arcbox/runtime/bin/FEX")
	if mp := mount(must[[]probe.Mount](t, m, "Mounts", none{}), binfmtMisc); mp == nil {
		must[none](t, m, "Mount", probe.MountRequest{Source: "binfmt_misc", Target: binfmtMisc, FSType: "binfmt_misc"})
	}
	must[none](t, m, "WriteFile", writeFile{binfmtMisc + "/register", []byte(strings.Replace(registration("FEX-x86_64", "/run/arcbox/runtime/bin/FEX", "POCF"), `\x3e`, `\xf3`, 1))})
	before := m.read(t, binfmtMisc+"/FEX-x86_64")
	m.run(t, "/run/arcbox/bin/uinit")
	if got := m.read(t, binfmtMisc+"/FEX-x86_64"); got != before || !strings.Contains(got, "/run/arcbox/runtime/bin/FEX") {
		t.Errorf("the kernel has %q, the agent had registered %q", got, before)
	}
	m.tell("Kill", probe.Signal{PID: 1, Number: int(syscall.SIGUSR2)})
	m.waitEnd(t, "guest-shutdown")
}
