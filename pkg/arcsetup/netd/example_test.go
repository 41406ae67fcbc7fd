package netd_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
)

// A program in the guest that forwards DNS queries takes the servers from the daemon's report, which is in netd.DefaultReport.
func ExampleReadReport() {
	path := filepath.Join(os.TempDir(), fmt.Sprint("net-", os.Getpid(), ".json"))
	text := `{"nics": [{"role": "primary", "name": "eth0", "state": "configured", "addresses": ["10.0.2.15/24"], "dns": ["10.0.2.3"]}]}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.Remove(path) }()

	r, err := netd.ReadReport(path)
	for _, nic := range r.NICs {
		fmt.Println(nic.Name, nic.Role, nic.DNS, err)
	}
	// Output: eth0 primary [10.0.2.3] <nil>
}
