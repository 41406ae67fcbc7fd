// Package uevent tells of devices that come and go: the events that the kernel
// sends to everyone who listens. It must not know what anyone does about them.
package uevent

import (
	"fmt"
	"strings"
)

// Event is what the kernel says of one device.
type Event struct {
	Action string // add, remove, change, bind, ...
	// DevPath is where the device is below /sys; it begins with a slash.
	DevPath string
	// Of the device's variables, those that are wanted here; each is empty
	// where the device has none.
	Subsystem string
	ModAlias  string // what modprobe takes for the name of its driver
}

// parse reads a message of the kernel's: ACTION@DEVPATH and variables NAME=value,
// each ended by a zero byte (lib/kobject_uevent.c).
func parse(message []byte) (Event, error) {
	header, variables, _ := strings.Cut(string(message), "\x00")
	action, path, ok := strings.Cut(header, "@")
	if !ok || action == "" || !strings.HasPrefix(path, "/") {
		return Event{}, fmt.Errorf("event of a device: %.100q is not ACTION@DEVPATH", header)
	}
	e := Event{Action: action, DevPath: path}
	for v := range strings.SplitSeq(variables, "\x00") {
		switch name, value, _ := strings.Cut(v, "="); name {
		case "SUBSYSTEM":
			e.Subsystem = value
		case "MODALIAS":
			e.ModAlias = value
		}
	}
	return e, nil
}
