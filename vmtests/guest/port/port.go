// Package port is the guest's end of the launcher's virtio-serial ports.
package port

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Open opens the virtio-serial port of that name for reading and writing. It finds the device in sysfs, because
// /dev/virtio-ports only exists with udev.
func Open(name string) (*os.File, error) {
	files, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		if b, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(b)) == name {
			return os.OpenFile(filepath.Join("/dev", filepath.Base(filepath.Dir(file))), os.O_RDWR, 0)
		}
	}
	return nil, fmt.Errorf("open virtio-serial port %q: %w", name, os.ErrNotExist)
}
