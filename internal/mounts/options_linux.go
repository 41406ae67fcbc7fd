package mounts

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// SplitOptions separates options as people write them in fstab(5) into the flags of mount(2), which are the same for every
// file system, and the options of the file system itself. Of opposites the last one counts.
func SplitOptions(options string) (flags uintptr, data string) {
	set := map[string]uintptr{
		"ro": unix.MS_RDONLY, "nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC, "nosymfollow": unix.MS_NOSYMFOLLOW,
		"sync": unix.MS_SYNCHRONOUS, "dirsync": unix.MS_DIRSYNC, "mand": unix.MS_MANDLOCK, "silent": unix.MS_SILENT, "noatime": unix.MS_NOATIME,
		"nodiratime": unix.MS_NODIRATIME, "relatime": unix.MS_RELATIME, "strictatime": unix.MS_STRICTATIME, "lazytime": unix.MS_LAZYTIME,
	}
	unset := map[string]uintptr{
		"rw": unix.MS_RDONLY, "suid": unix.MS_NOSUID, "dev": unix.MS_NODEV, "exec": unix.MS_NOEXEC, "symfollow": unix.MS_NOSYMFOLLOW,
		"async": unix.MS_SYNCHRONOUS, "nomand": unix.MS_MANDLOCK, "loud": unix.MS_SILENT, "atime": unix.MS_NOATIME, "diratime": unix.MS_NODIRATIME,
		"norelatime": unix.MS_RELATIME, "nostrictatime": unix.MS_STRICTATIME, "nolazytime": unix.MS_LAZYTIME,
	}
	// For programs such as mount(8) and systemd, and not for the kernel.
	others := []string{"", "defaults", "auto", "noauto", "user", "nouser", "users", "nousers", "owner", "noowner", "group", "nogroup", "nofail", "_netdev"}
	var own []string
	for _, option := range strings.Split(options, ",") {
		key, _, _ := strings.Cut(strings.ToLower(option), "=")
		if flags |= set[option]; unset[option] != 0 {
			flags &^= unset[option]
		} else if set[option] == 0 && !slices.Contains(others, option) && !strings.HasPrefix(key, "x-") && key != "comment" {
			own = append(own, option)
		}
	}
	return flags, strings.Join(own, ",")
}
