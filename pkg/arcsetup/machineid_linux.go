package arcsetup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/arcinit/arcinit/internal/wholefile"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"golang.org/x/sys/unix"
)

const (
	machineIDPath = "/etc/machine-id"
	// keptMachineID is where the host keeps it from one boot to the next.
	keptMachineID = "/arcbox/etc/machine-id"
)

// machineID gives the guest the id that the share keeps, so that it is the same
// machine at each boot: k3s and journald tell nodes by it. Without one there, the
// id that the guest has is kept from now on, or a new one.
func (g *Guest) machineID() (bool, error) {
	id, err := g.keptID()
	if id == "" {
		var errID error
		if id, errID = g.ownID(); errID != nil {
			return false, errors.Join(err, errID)
		}
		if err == nil && g.HasShare() {
			err = g.keepID(id)
		}
	}
	changed, errWrite := g.replaceFile(machineIDPath, id+"\n", 0o444)
	return changed, errors.Join(err, errWrite)
}

// keptID is the id on the share, empty if there is none. What is there and is no id
// stays there for its author to see.
func (g *Guest) keptID() (string, error) {
	text, err := g.readFile(keptMachineID)
	if err == nil && strings.TrimSpace(text) != "" && !isMachineID(strings.TrimSpace(text)) {
		err = fmt.Errorf("%s: not 32 lower-case hex digits", keptMachineID)
	}
	if err != nil {
		return "", plan.Fallback(fmt.Errorf("the machine id is for this boot alone: %w", err))
	}
	return strings.TrimSpace(text), nil
}

// ownID is the id that the guest has, by its image or since an earlier run, or a
// new one.
func (g *Guest) ownID() (string, error) {
	text, err := g.readFile(machineIDPath)
	if id := strings.TrimSpace(text); err == nil && isMachineID(id) {
		return id, nil
	}
	// A random UUID, which is what machine-id(5) asks for; the kernel does not wait
	// for entropy to make one.
	uuid, err := g.readFile("/proc/sys/kernel/random/uuid")
	id := strings.ReplaceAll(strings.TrimSpace(uuid), "-", "")
	if err == nil && !isMachineID(id) {
		err = fmt.Errorf("the kernel's random UUID is %q", uuid)
	}
	if err != nil {
		return "", fmt.Errorf("make a machine id: %w", err)
	}
	return id, nil
}

// keepID writes id onto the share. A host that shares read-only wants that.
func (g *Guest) keepID(id string) error {
	path := g.path(keptMachineID)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = wholefile.Write(path, []byte(id+"\n"), 0o444)
	}
	if err == nil || errors.Is(err, unix.EROFS) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return plan.Fallback(fmt.Errorf("keep the machine id: %w", err))
}

// isMachineID reports whether id is one by machine-id(5).
func isMachineID(id string) bool {
	return len(id) == 32 && strings.Trim(id, "0123456789abcdef") == "" && strings.Trim(id, "0") != ""
}
