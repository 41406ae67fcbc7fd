package uevent

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	const path = "/devices/pci0000:00/0000:00:02.0/virtio1"
	message := strings.Join([]string{
		"add@" + path, "ACTION=add", "DEVPATH=" + path, "SUBSYSTEM=virtio",
		"MODALIAS=virtio:d00000001v00001AF4", "SEQNUM=1234", "",
	}, "\x00")
	want := Event{Action: "add", DevPath: path, Subsystem: "virtio", ModAlias: "virtio:d00000001v00001AF4"}
	if got, ok := parse([]byte(message)); !ok || got != want {
		t.Errorf("parse = %+v, %v, want %+v", got, ok, want)
	}
}

func TestParseOddMessages(t *testing.T) {
	for message, want := range map[string]Event{
		"remove@/d":                       {Action: "remove", DevPath: "/d"},
		"add@/d\x00":                      {Action: "add", DevPath: "/d"},
		"add@/a@b\x00SUBSYSTEM":           {Action: "add", DevPath: "/a@b"},
		"add@/d\x00MODALIAS=a=b\x00=\x00": {Action: "add", DevPath: "/d", ModAlias: "a=b"},
		"add@/d\x00XMODALIAS=x\x00\x00y":  {Action: "add", DevPath: "/d"},
	} {
		if got, ok := parse([]byte(message)); !ok || got != want {
			t.Errorf("parse(%q) = %+v, %v, want %+v", message, got, ok, want)
		}
	}
	// The second is the beginning of udev's messages to its own listeners.
	for _, message := range []string{"", "libudev\x00\xfe\xed\xca\xfe", "@/d", "add@", "add@d\x00SUBSYSTEM=x", "\x00add@/d"} {
		if got, ok := parse([]byte(message)); ok {
			t.Errorf("parse(%q) = %+v, want nothing", message, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("add@/d\x00SUBSYSTEM=net\x00"))
	f.Fuzz(func(t *testing.T, message []byte) {
		e, ok := parse(message)
		if ok && (e.Action == "" || !strings.HasPrefix(e.DevPath, "/")) {
			t.Errorf("parse(%q) = %+v", message, e)
		}
	})
}
