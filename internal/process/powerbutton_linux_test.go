package process

import (
	"context"
	"encoding/binary"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestHasKey(t *testing.T) {
	for bitmap, want := range map[string]bool{
		"10000000000000 0\n": true, // an ACPI power button: 116 is bit 52 of the second word
		"402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe\n": true, // a keyboard
		"4000 0 0\n":               false, // an ACPI sleep button has KEY_SLEEP, 142
		"ffffffffffffffff\n":       false,
		"ffefffffffffffff 0\n":     false,
		"":                         false,
		"0\n":                      false,
		"x 0\n":                    false,
		"11ffffffffffffffffffff 0": false, // more than a word
	} {
		if got := hasKey(bitmap, keyPower); got != want {
			t.Errorf("hasKey(%q) = %v, want %v", bitmap, got, want)
		}
	}
}

// event is a struct input_event.
func event(kind, code uint16, value uint32) []byte {
	e := make([]byte, eventSize)
	binary.NativeEndian.PutUint16(e[eventSize-8:], kind)
	binary.NativeEndian.PutUint16(e[eventSize-6:], code)
	binary.NativeEndian.PutUint32(e[eventSize-4:], value)
	return e
}

// TestPowerButtonThatIsThere watches a pipe in place of a device. The other device,
// which has no power key, has no node to open.
func TestPowerButtonThatIsThere(t *testing.T) {
	root := t.TempDir()
	for input, keys := range map[string]string{"input6/event2": "4000 0 0\n", "input7/event3": "10000000000000 0\n"} {
		dir := filepath.Join(root, "sys/devices/input", input)
		link := filepath.Join(root, "sys/class/input", filepath.Base(input))
		capabilities := filepath.Join(filepath.Dir(dir), "capabilities")
		for _, d := range []string{dir, filepath.Dir(link), capabilities, filepath.Join(root, "dev/input")} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(capabilities, "key"), []byte(keys), 0o644); err != nil {
			t.Fatal(err)
		}
		for at, to := range map[string]string{link: dir, filepath.Join(dir, "device"): ".."} {
			if err := os.Symlink(to, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	pipe := filepath.Join(root, "dev/input/event3")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	device, err := os.OpenFile(pipe, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close() //nolint:errcheck // a test's device

	ctx, cancel := context.WithCancel(t.Context())
	pressed, ended := make(chan bool, 10), make(chan error, 1)
	b := &PowerButton{Root: root, Pressed: func() { pressed <- true }, Log: slog.New(slog.DiscardHandler)}
	go func() { ended <- b.Watch(ctx) }()
	for range 2 {
		if _, err := device.Write(event(evKey, keyPower, 1)); err != nil {
			t.Fatal(err)
		}
		<-pressed
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestPowerPresses(t *testing.T) {
	var all []byte
	for _, e := range [][]byte{
		event(evKey, keyPower, 1),
		event(0, 0, 0),            // EV_SYN, after each report
		event(evKey, keyPower, 2), // held down
		event(evKey, keyPower, 0),
		event(evKey, 30, 1), // KEY_A
		event(4, keyPower, 1),
		event(evKey, keyPower, 1),
	} {
		all = append(all, e...)
	}
	if got := powerPresses(all); got != 2 {
		t.Errorf("powerPresses = %d, want 2", got)
	}
	if got := powerPresses(all[:eventSize-1]); got != 0 {
		t.Errorf("part of an event: powerPresses = %d", got)
	}
}
