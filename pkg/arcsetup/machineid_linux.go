package arcsetup

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"golang.org/x/sys/unix"
)

const (
	machineIDPath = "/etc/machine-id"
	// keptMachineID keeps the id from one boot to the next.
	keptMachineID = "/arcbox/etc/machine-id"
)

// machineID gives the guest the id on the share, so that k3s and journald see the
// same machine at each boot. Without an id there, it keeps the guest's own id, or a
// new one, on the share.
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
	changed, errWrite := g.writeFile(machineIDPath, id+"\n", 0o444)
	return changed, errors.Join(err, errWrite)
}

// keptID returns the id on the share, empty without one. An invalid id is an error;
// its file stays, for its author to see.
func (g *Guest) keptID() (string, error) {
	text, err := g.readFile(keptMachineID)
	id := strings.TrimSpace(text)
	if err == nil && id != "" && !isMachineID(id) {
		err = fmt.Errorf("%s: not 32 lower-case hex digits", keptMachineID)
	}
	if err != nil {
		return "", plan.Fallback(fmt.Errorf("cannot keep the machine id over this boot: %w", err))
	}
	return id, nil
}

// ownID returns the id that the image or an earlier run gave the guest, else a new
// one.
func (g *Guest) ownID() (string, error) {
	text, err := g.readFile(machineIDPath)
	if id := strings.TrimSpace(text); err == nil && isMachineID(id) {
		return id, nil
	}
	// machine-id(5) asks for a random UUID. The kernel makes one without waiting for
	// entropy.
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

// keepID writes id onto the share. A read-only share is no error: the host wants it
// so.
func (g *Guest) keepID(id string) error {
	_, err := g.writeFile(keptMachineID, id+"\n", 0o444)
	if err == nil || errors.Is(err, unix.EROFS) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return plan.Fallback(fmt.Errorf("keep the machine id: %w", err))
}

// isMachineID reports whether id is valid by machine-id(5).
func isMachineID(id string) bool {
	return len(id) == 32 && strings.Trim(id, "0123456789abcdef") == "" && strings.Trim(id, "0") != ""
}
