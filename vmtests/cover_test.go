//go:build vmtest

package vmtests

import (
	"os"
	"testing"

	"github.com/arcinit/arcinit/vmtests/cover"
	"github.com/arcinit/arcinit/vmtests/guest"
)

// counters returns the share for a guest's coverage counters: a directory of its own in $ARCINIT_COVER (make coverage). Without
// that variable there is no such share.
func counters(t *testing.T) []guest.Share {
	t.Helper()
	dir := os.Getenv("ARCINIT_COVER")
	if dir == "" {
		return nil
	}
	dir, err := os.MkdirTemp(dir, "guest-")
	if err != nil {
		t.Fatal(err)
	}
	// The network daemon is a root that cannot write to the directories of other users.
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return []guest.Share{{Tag: cover.Tag, Dir: dir}}
}
