package arcsetup

import (
	"os"
	"strings"
	"testing"
)

const (
	anID    = "0123456789abcdef0123456789abcdef"
	another = "fedcba9876543210fedcba9876543210"
	uuid    = "/proc/sys/kernel/random/uuid"
)

func TestMachineID(t *testing.T) {
	for name, tt := range map[string]struct {
		files map[string]string
		want  string
		err   string // in the error; empty for none
	}{
		"new":                {map[string]string{uuid: "01234567-89ab-cdef-0123-456789abcdef\n"}, anID, ""},
		"kept":               {map[string]string{keptMachineID: anID + "\n", machineIDPath: another + "\n"}, anID, ""},
		"the image's":        {map[string]string{machineIDPath: another + "\n"}, another, ""},
		"of an image to be":  {map[string]string{machineIDPath: "uninitialized\n", uuid: anID}, anID, ""},
		"kept empty":         {map[string]string{keptMachineID: "\n", uuid: anID}, anID, ""},
		"kept is none":       {map[string]string{keptMachineID: "0123\n", uuid: anID}, anID, keptMachineID},
		"kept is all zeros":  {map[string]string{keptMachineID: strings.Repeat("0", 32), uuid: anID}, anID, keptMachineID},
		"kept is upper case": {map[string]string{keptMachineID: strings.ToUpper(anID), uuid: anID}, anID, keptMachineID},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuest(t, tt.files)
			if err := os.MkdirAll(g.path("/etc"), 0o755); err != nil {
				t.Fatal(err)
			}
			_, err := g.machineID()
			if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q in it", err, tt.err)
			}
			if got := read(t, g, machineIDPath); got != tt.want+"\n" {
				t.Errorf("the id is %q, want %s", got, tt.want)
			}
			if kept, ok := tt.files[keptMachineID]; ok && read(t, g, keptMachineID) != kept {
				t.Error("what the share keeps was changed")
			}
			if changed, _ := g.machineID(); changed {
				t.Error("changed by a second run")
			}
		})
	}
}

func TestMachineIDWithoutRandom(t *testing.T) {
	g := newGuest(t, map[string]string{uuid: "no\n"})
	if _, err := g.machineID(); err == nil || g.exists(machineIDPath) {
		t.Errorf("error %v", err)
	}
}
