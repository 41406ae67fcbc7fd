package arcsetup

import (
	"fmt"
	"strings"
	"testing"

	"github.com/arcinit/arcinit/pkg/arcsetup/config"
)

func TestSysctls(t *testing.T) {
	files := map[string]string{"/proc/sys/vm/swappiness": "60\n"}
	for name := range raised() {
		files["/proc/sys/"+name] = "100\n"
	}
	files["/proc/sys/net/core/rmem_max"] = "16000000\n"
	g := newGuest(t, files)
	configure(g, func(c *config.Config) {
		c.Sysctls = map[string]string{"vm/max_map_count": "70000", "vm/swappiness": "10"}
	})
	twice(t, g.sysctls)
	for name, value := range map[string]string{
		"fs/inotify/max_user_instances": "8192", "kernel/pid_max": fmt.Sprint(1 << 22),
		"net/core/rmem_max": "16000000", // never lowered
		"vm/max_map_count":  "70000",    // the host's word, lower than the table's
		"vm/swappiness":     "10",
	} {
		if got := strings.TrimSpace(read(t, g, "/proc/sys/"+name)); got != value {
			t.Errorf("%s is %s, want %s", name, got, value)
		}
	}
}

func TestSysctlsOfALesserKernel(t *testing.T) {
	g := newGuest(t, map[string]string{"/proc/sys/kernel/pid_max": "32768\n"})
	configure(g, func(c *config.Config) { c.Sysctls = map[string]string{"net/no/such": "1"} })
	changed, err := g.sysctls()
	if !changed || err == nil || !strings.Contains(err.Error(), "arcinit.toml: sysctl net/no/such") || !strings.Contains(err.Error(), "kernel/keys/maxkeys") {
		t.Errorf("changed %v, error %v", changed, err)
	}
}
