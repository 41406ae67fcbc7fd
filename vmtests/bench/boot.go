package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/arcinit/arcinit/vmtests/guest"
)

// bench has what the guests are made of.
type bench struct {
	build string
	// dir is for the shares.
	dir string
}

func newBench(build string) (*bench, error) {
	if runtime.GOARCH != "amd64" {
		return nil, fmt.Errorf("the figures are those of amd64, and this machine is %s", runtime.GOARCH)
	}
	build, err := filepath.Abs(build)
	if err != nil {
		return nil, fmt.Errorf("find the build directory: %w", err)
	}
	dir, err := os.MkdirTemp("", "arcinit-bench-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for the shares: %w", err)
	}
	return &bench{build: build, dir: dir}, nil
}

func (b *bench) close() { _ = os.RemoveAll(b.dir) }

func (b *bench) built(name string) string { return filepath.Join(b.build, name) }

// A flow is a way to boot.
type flow string

const (
	// reference is a disk whose trampoline starts the set-up from the share.
	reference flow = "reference"
	// initramfs is arcinit, the initramfs being the system.
	initramfs flow = "arcinit"
	// disk is arcinit, which goes on on the reference's disk.
	disk flow = "arcinit, root="
)

// longBoot is how long a boot may take that is one among many, or is written down as it goes.
const longBoot = 10 * time.Minute

// config is a guest with three shares and two networks, before its shares have directories.
func (b *bench) config(f flow) guest.Config {
	config := guest.Config{
		Arch: runtime.GOARCH, Kernel: b.built("vmlinux"),
		// Where instructions are time, the kernel would try the APIC's timer for 0.4 s, and then not use it.
		Cmdline: []string{"quiet", "nolapic_timer"},
		Shares:  []guest.Share{{Tag: "arcbox"}, {Tag: "private"}, {Tag: "users"}},
		NICs:    []guest.NIC{guest.PrimaryNIC(), guest.BridgeNIC()},
	}
	if f != reference {
		config.Initrd = b.built("initramfs.cpio")
	}
	if f != initramfs {
		config.Disks = []guest.Disk{{File: b.built("reference/disk.erofs")}}
		config.Cmdline = append(config.Cmdline, "root=/dev/vda", "ro", "rootfstype=erofs")
	}
	if f == reference {
		config.Cmdline = append(config.Cmdline, "init=/sbin/init")
	}
	return config
}

// upMark is what the stopwatch writes on the console when it has left all on the share.
const upMark = "stopwatch: done"

// running is a guest and the directory of its share arcbox.
type running struct {
	*guest.VM
	flow   flow
	arcbox string
}

// start starts a guest. Its shares are new directories, which are empty but for programs and these files on arcbox.
func (b *bench) start(ctx context.Context, f flow, config guest.Config, files map[string]string) (*running, error) {
	dir, err := os.MkdirTemp(b.dir, "guest-")
	if err != nil {
		return nil, fmt.Errorf("make a guest's shares: %w", err)
	}
	for i, share := range config.Shares {
		config.Shares[i].Dir = filepath.Join(dir, share.Tag)
		if err := os.Mkdir(config.Shares[i].Dir, 0o755); err != nil {
			return nil, fmt.Errorf("make the share %s: %w", share.Tag, err)
		}
	}
	arcbox := filepath.Join(dir, "arcbox")
	programs := map[string]string{"bin/arcbox-agent": "reference/stopwatch"}
	if f == reference {
		programs = map[string]string{"bin/arcbox-agent": "reference/setup", "bin/stopwatch": "reference/stopwatch"}
	}
	for name, source := range programs {
		text, err := os.ReadFile(b.built(source))
		if err != nil {
			return nil, fmt.Errorf("read a program for the share: %w", err)
		}
		if err := put(filepath.Join(arcbox, name), string(text), 0o755); err != nil {
			return nil, err
		}
	}
	for name, text := range files {
		if err := put(filepath.Join(arcbox, name), text, 0o644); err != nil {
			return nil, err
		}
	}
	vm, err := guest.Start(ctx, config)
	if err != nil {
		return nil, err
	}
	return &running{VM: vm, flow: f, arcbox: arcbox}, nil
}

func put(path, text string, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("fill a share: %w", err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		return fmt.Errorf("fill a share: %w", err)
	}
	return nil
}

// boot boots a guest until it has come to rest, and reads what the stopwatch has seen.
func (b *bench) boot(ctx context.Context, f flow, config guest.Config) (sample, error) {
	g, err := b.start(ctx, f, config, nil)
	if err != nil {
		return sample{}, err
	}
	return g.finish(ctx, len(config.NICs))
}

// finish waits until the guest has come to rest, ends it and reads what the stopwatch has seen.
func (g *running) finish(ctx context.Context, nics int) (sample, error) {
	defer g.remove()
	if err := errors.Join(g.WaitConsole(ctx, upMark), g.Stop(ctx)); err != nil {
		return sample{}, fmt.Errorf("boot of %s: %w", g.flow, err)
	}
	s, err := readSample(g.arcbox, g.flow, nics)
	if err != nil {
		return sample{}, fmt.Errorf("boot of %s: %w; its console:\n%s", g.flow, err, strings.TrimSpace(g.ConsoleText()))
	}
	return s, nil
}

// remove removes the guest, which ends if it has not.
func (g *running) remove() {
	g.Kill()
	_ = g.Wait()
	_ = os.RemoveAll(filepath.Dir(g.arcbox))
}
