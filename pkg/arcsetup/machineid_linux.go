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
	// randomUUID is a new random UUID at each read, without waiting for entropy.
	randomUUID = "/proc/sys/kernel/random/uuid"
)

// machineID gives the guest the id on the share, so that k3s and journald see the same machine at each
// boot. Without an id there, the guest gets its own id, or a new one, for keepMachineID to keep.
func (g *Guest) machineID() (bool, error) {
	id, errKept := g.readID(keptMachineID)
	g.newID.Store(id == "" && errKept == nil)
	if id == "" {
		id, _ = g.readID(machineIDPath) // by the image, or by an earlier run
	}
	if id == "" {
		var err error
		if id, err = g.readID(randomUUID); id == "" {
			return false, errors.Join(fmt.Errorf("%s has no machine ID", randomUUID), err, errKept)
		}
	}
	if errKept != nil {
		errKept = plan.Fallback(fmt.Errorf("cannot keep the machine ID for the next boot: %w", errKept))
	}
	changed, err := g.writeFile(machineIDPath, id+"\n", 0o444)
	return changed, errors.Join(errKept, err)
}

// keepMachineID writes a new machine id to the share. It is apart from the step machineid, because
// nothing in the guest needs to wait for that. A read-only share is no error: the host wants it so.
func (g *Guest) keepMachineID() (changed bool, err error) {
	if !g.newID.Load() || !g.HasShare() {
		return false, nil
	}
	id, err := g.readID(machineIDPath)
	if err == nil {
		changed, err = g.writeFile(keptMachineID, id+"\n", 0o444)
	}
	if errors.Is(err, unix.EROFS) || errors.Is(err, fs.ErrPermission) {
		return false, nil
	}
	if err != nil {
		err = plan.Fallback(fmt.Errorf("cannot keep the machine ID for the next boot: %w", err))
	}
	return changed, err
}

// readID reads the machine id in a file: 32 hex digits, by machine-id(5), or a UUID.
// A missing or empty file has none. An invalid file stays, for its author to see.
func (g *Guest) readID(path string) (id string, err error) {
	text, err := g.readFile(path)
	id = strings.ReplaceAll(strings.TrimSpace(text), "-", "")
	if err != nil || id == "" {
		return "", err
	}
	if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" || strings.Trim(id, "0") == "" {
		return "", fmt.Errorf("%s: not 32 lower-case hex digits", path)
	}
	return id, nil
}
