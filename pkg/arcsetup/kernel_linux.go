package arcsetup

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// typeSymbol is the kernel's configuration symbol for a type of file system.
func typeSymbol(fsType string) string {
	switch fsType {
	case "cgroup2":
		return "CONFIG_CGROUPS"
	case "proc":
		return "CONFIG_PROC_FS"
	case "devpts":
		return "CONFIG_UNIX98_PTYS"
	case "virtiofs":
		return "CONFIG_VIRTIO_FS"
	}
	return "CONFIG_" + strings.ToUpper(fsType)
}

// explainType says what would help where a file system is refused since the
// kernel does not know its type.
func explainType(fsType string, err error) error {
	if errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("the kernel has no %s (%s): %w", fsType, typeSymbol(fsType), err)
	}
	return err
}

// kernelSaid is the last line of the kernel log with this text, from there on;
// empty if there is none.
func kernelSaid(text string) string {
	log := make([]byte, 16<<10) // gets the end of it
	n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, log)
	if err != nil {
		return ""
	}
	at := bytes.LastIndex(log[:n], []byte(text))
	if at < 0 {
		return ""
	}
	line, _, _ := strings.Cut(string(log[at:n]), "\n")
	return line
}
