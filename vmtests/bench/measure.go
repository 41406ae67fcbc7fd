package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/arcinit/arcinit/vmtests/guest"
)

// measure boots the flows in turn and writes their figures. Taking turns spreads the machine's other load over all flows.
func measure(ctx context.Context, b *bench, docs string, boots int) error {
	f := figures{Date: time.Now().UTC().Format(time.DateOnly), Boots: boots, Boot: map[flow]map[string]map[string]spread{}}
	var err error
	if f.ImageBytes, err = b.imageBytes(); err != nil {
		return err
	}
	if f.Kernel, f.QEMU, err = b.versions(ctx); err != nil {
		return err
	}
	flows := []flow{reference, initramfs, disk}
	for _, fl := range flows {
		f.Boot[fl] = map[string]map[string]spread{}
	}
	for _, accel := range []guest.Accel{guest.Counted, guest.TCG} {
		samples := map[flow][]sample{}
		for i := range boots {
			for _, fl := range flows {
				config := b.config(fl)
				config.Accel = accel
				s, err := b.boot(ctx, fl, config)
				if err != nil {
					return err
				}
				fmt.Printf("%s, boot %d, %s: %s\n", clocks[accel], i+1, fl, s)
				samples[fl] = append(samples[fl], s)
			}
		}
		for _, fl := range flows {
			f.Boot[fl][clocks[accel]] = map[string]spread{}
			for _, figure := range bootFigures() {
				if fl != reference || !figure.noReference {
					f.Boot[fl][clocks[accel]][figure.name] = spreadOf(samples[fl], figure)
				}
			}
		}
	}
	if f.Syscalls, err = b.countSyscalls(ctx, flows); err != nil {
		return err
	}
	if err := f.write(docs); err != nil {
		return err
	}
	if err := f.writeTables(docs); err != nil {
		return err
	}
	fmt.Println()
	for _, t := range f.targets() {
		fmt.Println(t)
	}
	fmt.Printf("\nThe figures are in %s and, as tables, in benchmarks.md beside it.\n", filepath.Join(docs, "benchmarks.json"))
	return nil
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
	out, err := exec.CommandContext(ctx, "qemu-system-x86_64", "--version").Output()
	if err != nil {
		return "", "", fmt.Errorf("ask QEMU for its version: %w", err)
	}
	version := regexp.MustCompile(`\d+(\.\d+)+`)
	return version.FindString(string(head)), version.FindString(string(out)), nil
}
