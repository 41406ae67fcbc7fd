package arcsetup

import (
	"fmt"
	"slices"
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
		c.Sysctls = map[string]config.Sysctl{"vm/max_map_count": {Value: "70000"}, "vm/swappiness": {Value: "10"}}
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
	configure(g, func(c *config.Config) {
		c.Sysctls = map[string]config.Sysctl{"net/no/such": {Value: "1"}, "net/none": {Value: "1", Optional: true}}
	})
	changed, err := g.sysctls()
	if !changed || err == nil || !strings.Contains(err.Error(), "arcinit.toml: sysctl net/no/such") || strings.Contains(err.Error(), "net/none") || !strings.Contains(err.Error(), "kernel/keys/maxkeys") {
		t.Errorf("changed %v, error %v", changed, err)
	}
}

// TestLateSysctls has parameters that come later, with a module and with a link, and one that the guest's user changes.
func TestLateSysctls(t *testing.T) {
	g := newGuest(t, map[string]string{"/proc/sys/net/ipv4/conf/eth0/rp_filter": "1\n", "/proc/sys/net/ipv4/conf/lo/rp_filter": "1\n", "/proc/sys/net/ipv4/ip_forward": "1\n"})
	configure(g, func(c *config.Config) {
		c.Sysctls = map[string]config.Sysctl{"net/ipv4/conf/*/rp_filter": {Value: "2"}, "net/ipv4/conf/lo/rp_filter": {Value: "0"},
			"net/ipv4/ip_*": {Value: "0"}, "net/bridge/call": {Value: "1"}}
	})
	done := map[string]bool{}
	set := func(link, name, value string, missing ...string) {
		t.Helper()
		_, gone, err := g.setConfigured(done, link)
		if got := strings.TrimSpace(read(t, g, "/proc/sys/"+name)); got != value || err != nil || !slices.Equal(gone, missing) {
			t.Errorf("%s is %s, missing are %v, %v", name, got, gone, err)
		}
	}
	set("", "net/ipv4/conf/eth0/rp_filter", "2", "net/bridge/call")
	set("", "net/ipv4/conf/lo/rp_filter", "0", "net/bridge/call") // the name in full counts
	set("", "net/ipv4/ip_forward", "1", "net/bridge/call")        // the set-up's own
	put(t, g, "/proc/sys/net/bridge/call", "0\n")
	put(t, g, "/proc/sys/net/ipv4/conf/eth0/rp_filter", "1\n") // by the user
	put(t, g, "/proc/sys/net/ipv4/conf/docker0/rp_filter", "0\n")
	set("docker0", "net/bridge/call", "1")
	set("", "net/ipv4/conf/docker0/rp_filter", "2")
	set("", "net/ipv4/conf/eth0/rp_filter", "1")
	set("eth0", "net/ipv4/conf/eth0/rp_filter", "2") // a new link of that name
}
