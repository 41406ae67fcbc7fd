package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/arcinit/arcinit/vmtests/guest"
)

// A setting is what all flows have in common: how the guest's time is measured, the number of processors, and the kernel's
// directory below build/ARCHITECTURE.
type setting struct {
	name   string
	accel  guest.Accel
	cpus   int
	kernel string
}

// The settings, by their names in benchmarks.json. The trusted kernel has no mitigations.
var (
	counted = setting{"instructions", guest.Counted, 1, "."}
	trusted = setting{"trusted", guest.Counted, 1, "trusted"}
	wall    = []setting{{"wall-1", guest.Threads, 1, "."}, {"wall-2", guest.Threads, 2, "."}}
	byKVM   = []setting{{"kvm-1", guest.KVM, 1, "."}, {"kvm-2", guest.KVM, 2, "."}}
)

// flows are what measure boots, in the tables' order.
var flows = []flow{reference, initramfs, disk}

// measure boots the flows in each setting, and writes the figures of this architecture beside the recorded ones of others.
func measure(ctx context.Context, b *bench, docs string, boots int, kvm bool) error {
	all, err := readResults(docs)
	if err != nil {
		return err
	}
	f := figures{Date: time.Now().UTC().Format(time.DateOnly), Boots: boots, Boot: map[string]map[flow]map[string]spread{}}
	if f.ImageBytes, err = b.imageBytes(); err != nil {
		return err
	}
	if f.Kernel, f.QEMU, err = b.versions(ctx); err != nil {
		return err
	}
	settings := append([]setting{counted}, wall...)
	if b.arch == "amd64" {
		settings = append(settings, trusted)
	}
	if kvm && b.arch == runtime.GOARCH {
		settings = append(settings, byKVM...)
	}
	for _, s := range settings {
		if f.Boot[s.name], err = b.inTurn(ctx, s, boots); err != nil {
			return err
		}
	}
	if f.Syscalls, err = b.countSyscalls(ctx, flows...); err != nil {
		return err
	}
	all[b.arch] = f
	if err := all.write(docs); err != nil {
		return err
	}
	if err := all.writeTables(docs); err != nil {
		return err
	}
	fmt.Println()
	for _, t := range f.targets(b.arch) {
		fmt.Println(t.Row())
	}
	fmt.Printf("\nThe figures are in %s and, as tables, in benchmarks.md beside it and in README.md.\n", filepath.Join(docs, "benchmarks.json"))
	return nil
}

// inTurn boots each flow this often. Taking turns spreads the machine's other load over all flows. It returns the times, and
// the memory where instructions are counted.
func (b *bench) inTurn(ctx context.Context, in setting, boots int) (map[flow]map[string]spread, error) {
	samples := map[flow][]sample{}
	for i := range boots {
		for _, f := range flows {
			s, err := b.boot(ctx, f, b.config(f, in))
			if qemu := (*exec.ExitError)(nil); in.cpus > 1 && (errors.Is(err, guest.ErrPanic) || errors.As(err, &qemu)) {
				// QEMU's threads sometimes run code that the kernel is just changing for all processors. The kernel panics, or
				// QEMU itself crashes.
				fmt.Printf("%s, %s, boot %d, %s: booted again: %v\n", b.arch, in.name, i+1, f, err)
				s, err = b.boot(ctx, f, b.config(f, in))
			}
			if err != nil {
				return nil, err
			}
			fmt.Printf("%s, %s, boot %d, %s: %s\n", b.arch, in.name, i+1, f, s)
			samples[f] = append(samples[f], s)
		}
	}
	measured := times
	if in == counted {
		measured = bootFigures()
	}
	spreads := map[flow]map[string]spread{}
	for _, f := range flows {
		spreads[f] = map[string]spread{}
		for _, figure := range measured {
			if f != reference || !figure.noReference {
				spreads[f][figure.name] = spreadOf(samples[f], figure)
			}
		}
	}
	return spreads, nil
}

// String formats the sample as one line of progress output.
func (s sample) String() string {
	var words []string
	for _, f := range bootFigures() {
		words = append(words, fmt.Sprintf("%s %.1f %s", f.title, f.of(s), f.unit))
	}
	return strings.Join(words, ", ")
}

// versions returns the versions of the kernel and of QEMU.
func (b *bench) versions(ctx context.Context) (kernel, qemu string, err error) {
	head, err := exec.CommandContext(ctx, "head", "-3", b.built("kernel.config")).Output()
	if err != nil {
		return "", "", fmt.Errorf("read the kernel's configuration: %w", err)
	}
	program := map[string]string{"amd64": "qemu-system-x86_64", "arm64": "qemu-system-aarch64"}[b.arch]
	out, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return "", "", fmt.Errorf("ask QEMU for its version: %w", err)
	}
	version := regexp.MustCompile(`\d+(\.\d+)+`)
	return version.FindString(string(head)), version.FindString(string(out)), nil
}
