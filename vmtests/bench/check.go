package main

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

const (
	// slack is how much a figure may grow: 10% more than the recorded figure.
	slack = 1.10
	// mostBoots is how often check boots before it fails. The guest's clock runs on while the guest waits for the host, so a
	// boot can look slower than it is, but never faster.
	mostBoots = 8
	// pause separates two boots, because a busy host often stays busy for longer than one boot.
	pause = 10 * time.Second
)

// check boots arcinit, counted in instructions, until the fastest boot is within slack of the recorded median. It does not
// compare with the recorded minimum: a boot with almost no waiting is too rare to expect again.
func check(ctx context.Context, b *bench, docs string) error {
	all, err := readResults(docs)
	if err != nil {
		return err
	}
	kept := all[b.arch]
	bytes, err := b.imageBytes()
	if err != nil {
		return err
	}
	calls, err := b.countSyscalls(ctx, initramfs)
	if err != nil {
		return err
	}
	worse := map[string]string{}
	for _, name := range images {
		compare(worse, name, float64(bytes[name]), float64(kept.ImageBytes[name]), "bytes")
		fmt.Printf("%s: %d bytes, recorded %d\n", name, bytes[name], kept.ImageBytes[name])
	}
	for f, n := range calls {
		compare(worse, "PID 1 until the agent starts", float64(n), float64(kept.Syscalls[f]), "system calls")
		fmt.Printf("PID 1 until the agent starts: %d system calls, recorded %d\n", n, kept.Syscalls[f])
	}
	medians := kept.Boot[counted.name][initramfs]
	var samples []sample
	for len(samples) < mostBoots {
		if len(samples) > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(pause):
			}
		}
		s, err := b.boot(ctx, initramfs, b.config(initramfs, counted))
		if err != nil {
			return err
		}
		samples = append(samples, s)
		slow := false
		for _, f := range times {
			slow = !compare(worse, f.title, spreadOf(samples, f).Least, medians[f.name].Median, f.unit) || slow
		}
		if !slow {
			break
		}
	}
	for _, f := range times {
		fmt.Printf("%s: %.1f %s, recorded %.1f\n", f.title, spreadOf(samples, f).Least, f.unit, medians[f.name].Median)
	}
	if len(worse) > 0 {
		return fmt.Errorf("the boot costs over 10%% more than docs/benchmarks.json records, even in the best of %d boots; if the growth is intended, run `make bench` to record it:\n%s",
			len(samples), strings.Join(slices.Sorted(maps.Values(worse)), "\n"))
	}
	return nil
}

// compare reports whether a figure is within slack of the recorded one. It adds the figure to worse if not, and removes it
// otherwise.
func compare(worse map[string]string, title string, is, kept float64, unit string) bool {
	delete(worse, title)
	if is <= kept*slack {
		return true
	}
	worse[title] = fmt.Sprintf("%s: %s %s, recorded %s", title, number(is), unit, number(kept))
	return false
}

// number formats n with one decimal, or with none if n is whole.
func number(n float64) string {
	if n == math.Trunc(n) {
		return fmt.Sprintf("%.0f", n)
	}
	return fmt.Sprintf("%.1f", n)
}
