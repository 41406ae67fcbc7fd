// Command custom is arcinit's uinit with a plan of its own: without the step dax, and with the steps name and issue.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"github.com/arcinit/arcinit/pkg/uinit"
)

func main() {
	if err := uinit.Run(os.Args[1:], os.Stdout, customPlan); err != nil {
		fmt.Fprintln(os.Stderr, "uinit:", err)
		os.Exit(1)
	}
}

func customPlan(g *arcsetup.Guest) (steps, later []plan.Step) {
	steps, later = arcsetup.Plan(g)
	name := plan.Step{Name: "name", Needs: []string{"switchroot"}, Run: nameGuest, Doc: "the guest is named after its first NIC"}
	steps = plan.AddNeed(plan.Insert(steps, "hostname", name), "hostname", "name")
	issue := plan.Step{Name: "issue", Needs: []string{"layers"}, Run: func() (bool, error) { return write("/etc/issue", "A guest of ours\n") }}
	return append(steps, issue), plan.Without(later, "dax")
}

func nameGuest() (changed bool, err error) {
	mac, err := os.ReadFile("/sys/class/net/eth0/address")
	if err != nil {
		return false, plan.Absent(err)
	}
	return write("/proc/sys/kernel/hostname", "guest-"+strings.ReplaceAll(string(mac), ":", ""))
}

func write(path, text string) (changed bool, err error) {
	old, _ := os.ReadFile(path)
	return string(old) != text, os.WriteFile(path, []byte(text), 0o644)
}
