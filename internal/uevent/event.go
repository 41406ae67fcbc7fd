// Package uevent listens to the kernel's events about devices that come and go. It
// must not know what its callers do about them.
package uevent

import "strings"

// Event is an event about one device.
type Event struct {
	Action    string // add, remove, change, bind, ...
	DevPath   string // the device's path below /sys, with a leading slash
	Subsystem string // empty if the device has none
	ModAlias  string // the alias of the module that is its driver; may be empty
}

// parse reads a message of the kernel: ACTION@DEVPATH and variables NAME=value, each
// with a zero byte at its end (lib/kobject_uevent.c). Others are not ok.
func parse(message []byte) (e Event, ok bool) {
	header, variables, _ := strings.Cut(string(message), "\x00")
	action, path, ok := strings.Cut(header, "@")
	if !ok || action == "" || !strings.HasPrefix(path, "/") {
		return Event{}, false
	}
	e = Event{Action: action, DevPath: path}
	for v := range strings.SplitSeq(variables, "\x00") {
		switch name, value, _ := strings.Cut(v, "="); name {
		case "SUBSYSTEM":
			e.Subsystem = value
		case "MODALIAS":
			e.ModAlias = value
		}
	}
	return e, true
}
