package process

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/arcinit/arcinit/internal/guarded"
	"github.com/arcinit/arcinit/internal/kernelfile"
	"github.com/arcinit/arcinit/internal/uevent"
	"golang.org/x/sys/unix"
)

// A key press (linux/input-event-codes.h): the event's type, the key, and the value, which is 0 for a release and 2 for a repetition.
const (
	evKey    = 0x01
	keyPower = 116
	pressed  = 1
)

// PowerButton watches all input devices that have a power key, later ones too.
type PowerButton struct {
	// Root is the directory that has /sys and /dev.
	Root string
	// Pressed is called when the key is pressed.
	Pressed func()
	Log     *slog.Logger

	watched []string // the devices' directories in /sys
}

// Watch returns nil when ctx ends, or the error for which it cannot notice new devices. It may be called again after a panic.
func (b *PowerButton) Watch(ctx context.Context) error {
	scan := func() {
		links, _ := filepath.Glob(filepath.Join(b.Root, "sys/class/input/event*"))
		for _, link := range links {
			b.add(ctx, link)
		}
	}
	return uevent.Watch(ctx, scan, func(e uevent.Event) {
		if e.Subsystem == "input" {
			scan()
		}
	})
}

// add starts to read the device with this link in /sys, if it has a power key. The directory that the
// link names has a number that the kernel never uses again (input7/event3), unlike the device's name.
func (b *PowerButton) add(ctx context.Context, link string) {
	dir, errDir := os.Readlink(link)
	keys, errKeys := kernelfile.Read(filepath.Join(link, "device/capabilities/key"))
	if errDir != nil || errKeys != nil || !hasKey(keys, keyPower) || slices.Contains(b.watched, dir) {
		return
	}
	// Package os polls character devices: a read takes no thread while it waits, and Close ends it.
	device, err := os.Open(filepath.Join(b.Root, "dev/input", filepath.Base(link)))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
		return // gone again, or its event is still to come
	}
	if err != nil {
		b.Log.Warn("cannot open the power button", "err", err)
		return
	}
	b.watched = append(b.watched, dir)
	guarded.Go(b.Log, "power button", func() {
		if err := b.read(ctx, device); ctx.Err() == nil && !errors.Is(err, unix.ENODEV) {
			b.Log.Warn("cannot read the power button", "err", err)
		}
	})
}

// read reads the device until the device goes away or ctx ends.
func (b *PowerButton) read(ctx context.Context, device *os.File) error {
	defer device.Close() //nolint:errcheck // only read from
	defer context.AfterFunc(ctx, func() { _ = device.Close() })()
	b.Log.Debug("power button found", "device", device.Name())
	for events := make([]byte, 16*eventSize); ; {
		n, err := device.Read(events) // whole events
		if err != nil {
			return err
		}
		for range powerPresses(events[:n]) {
			b.Log.Info("power button pressed", "device", device.Name())
			b.Pressed()
		}
	}
}

// eventSize is the size of struct input_event (linux/input.h): the time in two words, then type, code and value.
const eventSize = 2*bits.UintSize/8 + 2 + 2 + 4

// powerPresses counts the presses of the power key among events.
func powerPresses(events []byte) (count int) {
	for e := range slices.Chunk(events, eventSize) {
		if len(e) == eventSize &&
			binary.NativeEndian.Uint16(e[eventSize-8:]) == evKey &&
			binary.NativeEndian.Uint16(e[eventSize-6:]) == keyPower &&
			binary.NativeEndian.Uint32(e[eventSize-4:]) == pressed {
			count++
		}
	}
	return count
}

// hasKey reports whether a bitmap from /sys has the key's bit. The bitmap is in hexadecimal words, the
// highest first (input_print_bitmap, drivers/input/input.c).
func hasKey(bitmap string, key int) bool {
	words := strings.Fields(bitmap)
	i := len(words) - 1 - key/bits.UintSize
	if i < 0 {
		return false
	}
	word, err := strconv.ParseUint(words[i], 16, bits.UintSize)
	return err == nil && word>>(key%bits.UintSize)&1 == 1
}
