package mounts

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestSplitOptions(t *testing.T) {
	for options, want := range map[string]struct {
		flags uintptr
		data  string
	}{
		"":                              {},
		"defaults":                      {},
		"noatime":                       {unix.MS_NOATIME, ""},
		"commit=7,noatime,data=journal": {unix.MS_NOATIME, "commit=7,data=journal"},
		"nodev,nosuid,noexec,exec":      {unix.MS_NODEV | unix.MS_NOSUID, ""},
		"ro,rw":                         {},
		"rw,ro":                         {unix.MS_RDONLY, ""},
		"nofail,x-systemd.automount,X-mount.mkdir=0700,comment=two words,subvol=@": {0, "subvol=@"},
		"defaults,,lazytime,strictatime":                                           {unix.MS_LAZYTIME | unix.MS_STRICTATIME, ""},
		"errors=remount-ro,user_xattr,usrquota":                                    {0, "errors=remount-ro,user_xattr,usrquota"},
	} {
		if flags, data := SplitOptions(options); flags != want.flags || data != want.data {
			t.Errorf("%s: %#x and %q, want %#x and %q", options, flags, data, want.flags, want.data)
		}
	}
}
