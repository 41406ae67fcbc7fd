package guest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestArguments(t *testing.T) {
	for name, test := range map[string]struct {
		config Config
		accel  Accel
		want   []string // must occur in this order
		never  []string
	}{
		"nothing asked for": {
			config: Config{Arch: "amd64"},
			accel:  TCG,
			want:   []string{"-nodefaults", "-machine q35", "-m 512M", "-smp 1", "-accel tcg", "-cpu max,-erms,-fsrm,-cx16", "-serial chardev:console"},
			never:  []string{"memory-backend", "virtio-net", "virtio-blk", "virtio-serial"},
		},
		"counted":        {config: Config{Arch: "amd64"}, accel: Counted, want: []string{"-accel tcg,thread=single", "-cpu max,-erms,-fsrm -icount shift=0,sleep=on"}},
		"two processors": {config: Config{Arch: "amd64", CPUs: 2}, accel: TCG, want: []string{"-smp 2", "-accel tcg,thread=single", "-cpu max,-erms,-fsrm,-cx16"}},
		"a thread each":  {config: Config{Arch: "amd64", CPUs: 2}, accel: Threads, want: []string{"-smp 2", "-accel tcg -cpu"}},
		"KVM":            {config: Config{Arch: "amd64"}, accel: KVM, want: []string{"-accel kvm", "-cpu host"}},
		"arm64":          {config: Config{Arch: "arm64"}, accel: TCG, want: []string{"-machine virt", "-cpu cortex-a72"}},
		"a virtio console": {
			config: Config{Arch: "arm64", VirtioConsole: true},
			accel:  TCG,
			want:   []string{"-serial none", "virtio-serial-pci,id=consoles", "virtconsole,bus=consoles.0,chardev=console"},
			never:  []string{"-serial chardev"},
		},
		"shares": {
			config: Config{Arch: "amd64", MemoryMiB: 768, Shares: []Share{{Tag: "arcbox", Dir: "/a"}, {Tag: "users", Dir: "/b"}}},
			accel:  TCG,
			want: []string{
				"-m 768M", "memory-backend-memfd,id=mem,share=on,size=768M", "node,memdev=mem",
				"path=/s/share0", "vhost-user-fs-pci,chardev=share0,tag=arcbox",
				"path=/s/share1", "vhost-user-fs-pci,chardev=share1,tag=users",
			},
		},
		"network cards": {
			config: Config{Arch: "amd64", NICs: []NIC{PrimaryNIC(), {MAC: "52:54:00:aa:bb:cc"}, {Netdev: "stream,addr.type=unix,addr.path=/x"}}},
			accel:  TCG,
			want: []string{
				"-netdev user,net=10.0.2.0/24,host=10.0.2.1,dns=10.0.2.3,id=nic0",
				"virtio-net-pci,romfile=,netdev=nic0,mac=52:54:00:00:00:01",
				"-netdev hubport,hubid=1,id=nic1",
				"virtio-net-pci,romfile=,netdev=nic1,mac=52:54:00:aa:bb:cc",
				"-netdev stream,addr.type=unix,addr.path=/x,id=nic2",
				"virtio-net-pci,romfile=,netdev=nic2,mac=52:54:00:00:00:03",
			},
		},
		"disks, ports and more": {
			config: Config{Arch: "amd64", Disks: []Disk{{File: "/d"}, {File: "/w", Writable: true, BlockSize: 4096}}, Ports: []Port{{Name: "report"}}, ExtraQEMU: []string{"-snapshot"}},
			accel:  TCG,
			want: []string{
				"read-only=on,id=disk0,file=/d", "virtio-blk-pci,drive=disk0,logical_block_size=512",
				"read-only=off,id=disk1,file=/w", "virtio-blk-pci,drive=disk1,logical_block_size=4096",
				"virtio-serial-pci,id=ports", "path=/s/port0", "virtserialport,bus=ports.0,chardev=port0,name=report", "-snapshot",
			},
		},
		"devices on MMIO": {
			config: Config{Arch: "amd64", MMIO: true, NICs: []NIC{PrimaryNIC()}, Disks: []Disk{{File: "/d"}}, Ports: []Port{{Name: "report"}}},
			accel:  TCG,
			want: []string{
				"-machine microvm,acpi=off,rtc=off", "virtio-rng-device", "virtio-mmio.force-legacy=false",
				"virtio-net-device,netdev=nic0,mac=52:54:00:00:00:01", "virtio-blk-device,drive=disk0", "virtio-serial-device,id=ports",
			},
			never: []string{"-pci", "q35"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			test.config.Kernel = "/kernel"
			config, err := test.config.withDefaults("amd64")
			if err != nil {
				t.Fatal(err)
			}
			m, err := machineFor(config.Arch)
			if err != nil {
				t.Fatal(err)
			}
			args := strings.Join(config.qemuArgs(m, test.accel, sockets{dir: "/s"}), " ")
			rest := args
			for _, want := range test.want {
				_, after, found := strings.Cut(rest, want)
				if !found {
					t.Fatalf("%q is missing or out of order in: %s", want, args)
				}
				rest = after
			}
			for _, never := range test.never {
				if strings.Contains(args, never) {
					t.Errorf("%q is in: %s", never, args)
				}
			}
		})
	}
}

func TestConfigIsRefused(t *testing.T) {
	for name, config := range map[string]Config{
		"no kernel":       {},
		"no such machine": {Kernel: "/kernel", Arch: "vax"},
	} {
		if _, err := config.withDefaults("amd64"); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := chooseAccel(t.Context(), Config{Accel: "hvf"}, machine{}); err == nil {
		t.Error("an unknown accelerator was accepted")
	}
}

func TestWhichVirtiofsd(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"rust", "c"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	none, inRust, inC := place{path: dir + "/none"}, place{path: dir + "/rust"}, place{path: dir + "/c", inC: true}
	packed := place{path: inRust.path, libraries: "/l"}
	for name, test := range map[string]struct {
		places []place
		root   bool
		want   string
	}{
		"the first there is":     {[]place{none, inRust, inC}, true, inRust.path + " --fd=3 --shared-dir /d --sandbox chroot"},
		"the one in C for root":  {[]place{none, inC}, true, inC.path + " --fd=3 -o source=/d -o sandbox=chroot"},
		"not for others":         {[]place{inC}, false, ""},
		"one with its libraries": {[]place{packed}, false, "/l/ld.so --library-path /l/lib " + packed.path + " --fd=3 --shared-dir /d --sandbox none"},
		"none":                   {[]place{none}, true, ""},
	} {
		got := ""
		p, err := findVirtiofsd(test.places, test.root)
		if err == nil {
			got = strings.Join(p.command("/d", test.root), " ")
		}
		if got != test.want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, test.want)
		}
	}
}

func TestShareThatIsNot(t *testing.T) {
	if _, err := serveShare(Share{Tag: "arcbox", Dir: "/no/such/directory"}, t.TempDir()+"/s"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestConsoleWait(t *testing.T) {
	c := newConsole()
	never := make(chan struct{})
	got := make(chan []string)
	go func() {
		m, _ := c.wait(context.Background(), regexp.MustCompile(`up in (\d+)`), never)
		got <- m
	}()
	for _, part := range []string{"booting\nup", " in 17", "0 ms\n"} {
		_, _ = c.Write([]byte(part))
	}
	if m := <-got; len(m) != 2 || !strings.HasPrefix("170", m[1]) {
		t.Errorf("got %q", m)
	}

	ended := make(chan struct{})
	close(ended)
	if _, err := c.wait(context.Background(), regexp.MustCompile("booting"), ended); err != nil {
		t.Errorf("what was written before the end was not found: %v", err)
	}
	if _, err := c.wait(context.Background(), regexp.MustCompile("never"), ended); !errors.Is(err, errEnded) {
		t.Errorf("after the end: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := c.wait(ctx, regexp.MustCompile("never"), never); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("out of time: %v", err)
	}
}

func TestLastLines(t *testing.T) {
	if got := lastLines("a\r\nb\r\nc\r\n", 2); got != "b\nc" {
		t.Errorf("got %q", got)
	}
	if got := lastLines("a", 5); got != "a" {
		t.Errorf("got %q", got)
	}
}
