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

// slack is how much more than kept is no failure. mostBoots is how many boots have to be too slow before that is believed:
// while the guest waits for the host its clock runs on, so a boot can seem slower than it is, and never faster. pause is
// between them: what keeps the host from one boot mostly lasts longer than that.
const (
	slack     = 1.10
	mostBoots = 8
	pause     = 10 * time.Second
)

// check boots arcinit, counted in instructions, until the least of the boots is no more than the median of those kept, and
// the slack. Least against least would be stricter than the figures repeat: a boot that hardly waits is rare.
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
		fmt.Printf("%s: %.1f %s, kept %.1f\n", f.title, spreadOf(samples, f).Least, f.unit,
			kept.Boot[initramfs][clocks[guest.Counted]][f.name].Median)
	}
	for _, name := range images {
		fmt.Printf("%s: %d bytes, kept %d\n", name, bytes[name], kept.ImageBytes[name])
	}
	if len(worse) > 0 {
		return fmt.Errorf("it costs a tenth more than docs/benchmarks.json says, the least of %d boots; if it has to, `make bench` writes what it costs now:\n%s",
			len(samples), strings.Join(slices.Sorted(maps.Values(worse)), "\n"))
	}
	return nil
}

// compare notes a figure that is worse than kept, or takes that back, and says whether it is as good.
func compare(worse map[string]string, title string, is, kept float64, unit string) bool {
	delete(worse, title)
	if is <= kept*slack {
		return true
	}
	worse[title] = fmt.Sprintf("%s: %s %s, kept %s", title, number(is), unit, number(kept))
	return false
}

// number is without a fraction where that would say nothing.
func number(n float64) string {
	if n == math.Trunc(n) {
		return fmt.Sprintf("%.0f", n)
	}
	return fmt.Sprintf("%.1f", n)
}
