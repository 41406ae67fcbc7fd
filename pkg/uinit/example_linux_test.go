package uinit_test

import (
	"fmt"
	"os"
	"strings"

	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"github.com/arcinit/arcinit/pkg/uinit"
)

// A program of your own runs the guest with one more step. With the argument plan, the program prints its plan.
func ExampleRun() {
	var out strings.Builder
	err := uinit.Run([]string{"plan"}, &out, func(g *arcsetup.Guest) (steps, later []plan.Step) {
		steps, later = arcsetup.Plan(g)
		issue := plan.Step{Name: "issue", Needs: []string{"layers"}, Doc: "/etc/issue names the owner", Run: func() (changed bool, err error) {
			return true, os.WriteFile("/etc/issue", []byte("Our guest\n"), 0o644)
		}}
		return append(steps, issue), later
	})
	for line := range strings.Lines(out.String()) {
		if strings.HasPrefix(line, "issue ") {
			fmt.Println(strings.Join(strings.Fields(line), " "), err)
		}
	}
	// Output: issue layers /etc/issue names the owner <nil>
}
