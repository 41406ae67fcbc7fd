package process

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/arcinit/arcinit/internal/guarded"
	"github.com/arcinit/arcinit/internal/uevent"
	"golang.org/x/sys/unix"
)

// A key press, in linux/input-event-codes.h: the type of the event, the key, and
// its value (0 is a release, 2 a repetition).
const (
	evKey    = 0x01
	keyPower = 116
	pressed  = 1
)

// PowerButton watches every input device that has a power key: those that are
// there, and those that appear.
type PowerButton struct {
	// Root is where /sys and /dev are.
	Root string
	// Pressed is called when the key is pressed.
	Pressed func()
	Log     *slog.Logger

	mu      sync.Mutex
	watched map[string]bool // by the device's directory in /sys
}

// Watch returns nil when ctx ends, else why devices that appear are not noticed.
func (b *PowerButton) Watch(ctx context.Context) error {
	err := uevent.Watch(ctx,
		func() {
			links, _ := filepath.Glob(filepath.Join(b.Root, "/sys/class/input/event*"))
			for _, link := range links {
				if dir, err := filepath.EvalSymlinks(link); err == nil {
					b.look(ctx, dir)
				}
			}
		},
		func(e uevent.Event) {
			if e.Action == "add" && e.Subsystem == "input" && strings.HasPrefix(filepath.Base(e.DevPath), "event") {
				b.look(ctx, filepath.Join(b.Root, "/sys", e.DevPath))
			}
		})
	if err != nil {
		return fmt.Errorf("look for power buttons: %w", err)
	}
	return nil
}

// look reads the device with this directory in /sys, if it has a power key and is
// not read already. Its path there holds a number that no other device ever gets
// (input7/event3), unlike its name.
func (b *PowerButton) look(ctx context.Context, dir string) {
	keys, err := os.ReadFile(filepath.Join(dir, "device/capabilities/key"))
	if err != nil || !hasKey(string(keys), keyPower) {
		return // gone again, or something else
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.watched[dir] {
		return
	}
	// Package os has a character device in its poller: a read that waits
	// takes no thread, and Close ends it.
	device, err := os.Open(filepath.Join(b.Root, "/dev/input", filepath.Base(dir)))
	if errors.Is(err, os.ErrNotExist) {
		return // gone again, or not there yet, and its event still to come
	}
	if err != nil {
		b.Log.Warn("power button", "err", err)
		return
	}
	if b.watched == nil {
		b.watched = map[string]bool{}
	}
	b.watched[dir] = true
	guarded.Go(b.Log, "power button", func() {
		defer func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			delete(b.watched, dir)
		}()
		if err := b.read(ctx, device); err != nil {
			b.Log.Warn("power button", "err", err)
		}
	})
}

// read reads the device until it goes away or ctx ends.
func (b *PowerButton) read(ctx context.Context, device *os.File) error {
	closeDevice := func() { _ = device.Close() }
	defer closeDevice()
	defer context.AfterFunc(ctx, closeDevice)()
	b.Log.Debug("power button found", "device", device.Name())
	for events := make([]byte, 16*eventSize); ; {
		n, err := device.Read(events) // whole events
		if errors.Is(err, unix.ENODEV) || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		for range powerPresses(events[:n]) {
			b.Log.Info("power button pressed", "device", device.Name())
			b.Pressed()
		}
	}
}

// eventSize is the size of struct input_event (linux/input.h): the time, two
// numbers of a word each, then type, code and value.
const eventSize = 2*bits.UintSize/8 + 2 + 2 + 4

// powerPresses counts the presses of the power key among events.
func powerPresses(events []byte) (count int) {
	for ; len(events) >= eventSize; events = events[eventSize:] {
		e := events[eventSize-8:]
		if binary.NativeEndian.Uint16(e) == evKey &&
			binary.NativeEndian.Uint16(e[2:]) == keyPower &&
			binary.NativeEndian.Uint32(e[4:]) == pressed {
			count++
		}
	}
	return count
}

// hasKey reports whether a bitmap as in /sys has this bit: words in hexadecimal,
// the highest first (input_print_bitmap in drivers/input/input.c).
func hasKey(bitmap string, key int) bool {
	words := strings.Fields(bitmap)
	i := len(words) - 1 - key/bits.UintSize
	if i < 0 {
		return false
	}
	word, err := strconv.ParseUint(words[i], 16, bits.UintSize)
	return err == nil && word>>(key%bits.UintSize)&1 == 1
}
