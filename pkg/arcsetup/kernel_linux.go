package arcsetup

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
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

// Lacks says what the running kernel lacks of that which a configuration symbol in
// a step's Wants gives; nil for nothing. It asks for the thing itself, whose module
// is loaded as for its use: what is lacking cannot be had. It takes root.
func Lacks(symbol string) error {
	switch symbol {
	case "CONFIG_FUSE_DAX": // which any virtiofs has the option for; CONFIG_KALLSYMS lists the code
		return lacksLine(symbol, "fuse", "/proc/kallsyms", " fuse_dax_conn_alloc")
	case "CONFIG_INPUT_EVDEV":
		return lacksLine(symbol, "evdev", "/proc/bus/input/handlers", " Name=evdev")
	case "CONFIG_KEYBOARD_GPIO":
		if _, err := os.Stat("/sys/firmware/acpi/tables"); err == nil {
			return nil // the button is ACPI's
		}
		return lacksLine(symbol, "gpio_keys", "/sys/bus/platform/drivers/gpio-keys", "")
	case "CONFIG_VIRTIO_NET":
		return lacksLine(symbol, "virtio_net", "/sys/bus/virtio/drivers/virtio_net", "")
	case "CONFIG_PACKET":
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM, 0)
		if err == nil {
			return unix.Close(fd)
		}
		return fmt.Errorf("the kernel has no packet sockets (%s): %w", symbol, err)
	}
	for _, fsType := range []string{"sysfs", "devtmpfs", "virtiofs", "cgroup2", "devpts", "binfmt_misc"} {
		if symbol == typeSymbol(fsType) {
			fd, err := unix.Fsopen(fsType, unix.FSOPEN_CLOEXEC)
			if err == nil {
				return unix.Close(fd)
			}
			return explainType(fsType, err)
		}
	}
	return fmt.Errorf("%s: nobody knows how to ask for it", symbol)
}

// lacksLine asks for what no call asks for: a file that is there when the kernel has
// it, perhaps by a module, and in which a line has this text.
func lacksLine(symbol, module, path, text string) error {
	_ = Modprobe(module) // whether it is there then is what counts
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("no sign of %s: %w", symbol, err)
	}
	defer f.Close() //nolint:errcheck // only read from
	lines := bufio.NewScanner(f)
	for text != "" {
		if !lines.Scan() {
			return fmt.Errorf("no sign of %s in %s", symbol, path)
		}
		if bytes.Contains(lines.Bytes(), []byte(text)) {
			break
		}
	}
	return nil
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
