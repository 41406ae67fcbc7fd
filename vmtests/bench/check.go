package main

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/arcinit/arcinit/vmtests/guest"
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
	kept, err := readFigures(docs)
	if err != nil {
		return err
	}
	bytes, err := b.imageBytes()
	if err != nil {
		return err
	}
	worse := map[string]string{}
	for _, name := range images {
		compare(worse, name, float64(bytes[name]), float64(kept.ImageBytes[name]), "bytes")
	}
	var samples []sample
	for len(samples) < mostBoots {
		if len(samples) > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(pause):
			}
		}
		config := b.config(initramfs)
		config.Accel = guest.Counted
		s, err := b.boot(ctx, initramfs, config)
		if err != nil {
			return err
		}
		samples = append(samples, s)
		slow := false
		for _, f := range times {
			is := spreadOf(samples, f).Least
			slow = !compare(worse, f.title, is, kept.Boot[initramfs][clocks[guest.Counted]][f.name].Median, f.unit) || slow
		}
		if !slow {
			break
		}
	}
	for _, f := range times {
		fmt.Printf("%s: %.1f %s, recorded %.1f\n", f.title, spreadOf(samples, f).Least, f.unit,
			kept.Boot[initramfs][clocks[guest.Counted]][f.name].Median)
	}
	for _, name := range images {
		fmt.Printf("%s: %d bytes, recorded %d\n", name, bytes[name], kept.ImageBytes[name])
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
