//go:build !guesttest

package arcsetup

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestSysctlTable compares what is done with what the users are told. No guest
// has the documents.
func TestSysctlTable(t *testing.T) {
	doc, err := os.ReadFile("../../docs/sysctl.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range raised() {
		if row := fmt.Sprintf("| %s | %d | ", strings.ReplaceAll(name, "/", "."), value); strings.Count(string(doc), "\n"+row) != 1 {
			t.Errorf("docs/sysctl.md has no row %q", row)
		}
	}
	if n := strings.Count(string(doc), "\n| ") - 1; n != len(raised()) {
		t.Errorf("docs/sysctl.md has %d rows for %d parameters", n, len(raised()))
	}
}
