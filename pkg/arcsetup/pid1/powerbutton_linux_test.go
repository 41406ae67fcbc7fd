package pid1

import (
	"encoding/binary"
	"testing"
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

func TestPowerPresses(t *testing.T) {
	event := func(kind, code uint16, value uint32) []byte {
		e := make([]byte, eventSize)
		binary.NativeEndian.PutUint16(e[eventSize-8:], kind)
		binary.NativeEndian.PutUint16(e[eventSize-6:], code)
		binary.NativeEndian.PutUint32(e[eventSize-4:], value)
		return e
	}
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
