//go:build vmtest && full

package vmtests

import (
	"testing"

	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// TestExampleEmbed boots the images of examples/embed as the page says. Two images of u-root take minutes to compile.
func TestExampleEmbed(t *testing.T) {
	reports := runPage(t, "embed")
	for i, role := range []string{"init", "uinit"} {
		if r := parseReport(t, reports[i]); r.Role != role || r.AgentStarted == 0 || steps(t, reports[i])["layers"].Outcome != plan.OK {
			t.Errorf("block %d of the page: role %q, the agent started at %v, %s; want role %s", i+1, r.Role, r.AgentStarted, r.Count(), role)
		}
	}
}
