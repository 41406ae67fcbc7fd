package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/arcinit/arcinit/vmtests/guest"
)

// bench holds what the guests are made from.
type bench struct {
	// arch is the guests' architecture.
	arch string
	// build has the kernel, the images and the reference's disk.
	build string
	// dir is a temporary directory for the guests' shares.
	dir string
}

func newBench(arch, build string) (*bench, error) {
	build, err := filepath.Abs(build)
	if err != nil {
		return nil, fmt.Errorf("find the build directory: %w", err)
	}
	dir, err := os.MkdirTemp("", "arcinit-bench-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for the shares: %w", err)
	}
	return &bench{arch: arch, build: build, dir: dir}, nil
}

func (b *bench) close() { _ = os.RemoveAll(b.dir) }

func (b *bench) built(name string) string { return filepath.Join(b.build, name) }

// A flow is a way to boot.
type flow string

const (
	// reference boots the reference's disk. Its init script execs the set-up program on the share.
	reference flow = "reference"
	// initramfs boots arcinit with the initramfs as the root.
	initramfs flow = "arcinit"
	// disk boots arcinit with the reference's disk as the root.
	disk flow = "arcinit, root="
)

// longBoot limits a boot that is slow because other guests boot at the same time or because QEMU writes a trace.
const longBoot = 10 * time.Minute

// config configures a guest with three shares and two networks. start adds the shares' directories.
func (b *bench) config(f flow, s setting) guest.Config {
	config := guest.Config{
		Arch: b.arch, Accel: s.accel, CPUs: s.cpus, Kernel: b.built(filepath.Join(s.kernel, "kernel")),
		Cmdline: []string{"quiet"},
		Shares:  []guest.Share{{Tag: "arcbox"}, {Tag: "private"}, {Tag: "users"}},
		NICs:    []guest.NIC{guest.PrimaryNIC(), guest.BridgeNIC()},
	}
	if b.arch == "amd64" {
		config.Kernel = b.built(filepath.Join(s.kernel, "vmlinux"))
	}
	if b.arch == "amd64" && s.accel != guest.KVM {
		// With the instruction counter as the clock, the kernel would test the APIC timer for 0.4 s and then reject it.
		config.Cmdline = append(config.Cmdline, "nolapic_timer")
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

// upMark is the line that the stopwatch writes on the console when all its files are on the share.
const upMark = "stopwatch: done"

// running is a started guest. arcbox is the directory of its share arcbox.
type running struct {
	*guest.VM
	flow   flow
	arcbox string
}

// start starts a guest. Its shares are new directories: arcbox has the programs and these files, the others are empty.
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

// boot boots a guest, waits until the stopwatch is done, and returns the stopwatch's measurements.
func (b *bench) boot(ctx context.Context, f flow, config guest.Config) (sample, error) {
	g, err := b.start(ctx, f, config, nil)
	if err != nil {
		return sample{}, err
	}
	return g.finish(ctx, len(config.NICs))
}

// finish waits until the stopwatch is done, stops the guest and returns the stopwatch's measurements.
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

// remove stops the guest if it is still running, and deletes its shares.
func (g *running) remove() {
	g.Kill()
	_ = g.Wait()
	_ = os.RemoveAll(filepath.Dir(g.arcbox))
}
