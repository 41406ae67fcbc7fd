package mounts

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// SplitOptions separates options as people write them in fstab(5) into the flags of mount(2), which are the same for every
// file system, and the options of the file system itself. Of opposites the last one counts.
func SplitOptions(options string) (flags uintptr, data string) {
	flagsOf := []struct {
		set, unset string
		flag       uintptr
	}{
		{"ro", "rw", unix.MS_RDONLY}, {"nosuid", "suid", unix.MS_NOSUID}, {"nodev", "dev", unix.MS_NODEV}, {"noexec", "exec", unix.MS_NOEXEC},
		{"nosymfollow", "symfollow", unix.MS_NOSYMFOLLOW}, {"sync", "async", unix.MS_SYNCHRONOUS}, {"dirsync", "nodirsync", unix.MS_DIRSYNC},
		{"mand", "nomand", unix.MS_MANDLOCK}, {"silent", "loud", unix.MS_SILENT}, {"noatime", "atime", unix.MS_NOATIME},
		{"nodiratime", "diratime", unix.MS_NODIRATIME}, {"relatime", "norelatime", unix.MS_RELATIME},
		{"strictatime", "nostrictatime", unix.MS_STRICTATIME}, {"lazytime", "nolazytime", unix.MS_LAZYTIME},
	}
	// For programs such as mount(8) and systemd, and not for the kernel.
	others := []string{"", "defaults", "auto", "noauto", "user", "nouser", "users", "nousers", "owner", "noowner", "group", "nogroup", "nofail", "_netdev"}
	var own []string
	for _, option := range strings.Split(options, ",") {
		key, _, _ := strings.Cut(strings.ToLower(option), "=")
		known := slices.Contains(others, option) || strings.HasPrefix(key, "x-") || key == "comment"
		for _, f := range flagsOf {
			switch option {
			case f.set:
				flags, known = flags|f.flag, true
			case f.unset:
				flags, known = flags&^f.flag, true
			}
		}
		if !known {
			own = append(own, option)
		}
	}
	return flags, strings.Join(own, ",")
}
