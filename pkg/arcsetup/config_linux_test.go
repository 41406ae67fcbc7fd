package arcsetup

import (
	"strings"
	"testing"
)

func TestCheckWriters(t *testing.T) {
	for _, test := range []struct {
		mode, owner uint32
		onShare     bool
		refused     string // the reason, in part
	}{
		{0o644, 0, false, ""},
		{0o600, 0, false, ""},
		{0o755, 0, false, ""},
		{0o100644, 0, false, ""}, // with the type, as stat(2) has it
		{0o644, 1000, false, "user 1000"},
		{0o664, 0, false, "0664"},
		{0o646, 0, false, "0646"},
		{0o100666, 0, false, "0666"},
		{0o644, 501, true, ""},
		{0o664, 501, true, ""},
		{0o666, 501, true, "0666"},
		{0o602, 0, true, "0602"},
	} {
		err := checkWriters(test.mode, test.owner, test.onShare)
		if (err != nil) != (test.refused != "") || err != nil && !strings.Contains(err.Error(), test.refused) {
			t.Errorf("mode %04o, user %d, on a share %v: %v, want %q", test.mode, test.owner, test.onShare, err, test.refused)
		}
	}
}
