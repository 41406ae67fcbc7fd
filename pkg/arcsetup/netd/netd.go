package netd

import (
	"errors"
	"time"
)

// Config is what the daemon needs to know. The zero value configures the first
// two NICs of the running system.
type Config struct {
	Roles
	// Hostname is told to the DHCP servers (option 12) unless it is empty.
	Hostname string `json:"hostname,omitempty"`
	// ProbeAddress has an address looked for on the link before it is used,
	// which takes a second (RFC 5227 section 2.1.1).
	ProbeAddress bool `json:"probe_address,omitempty"`
	// IPv6Router has the guest forward IPv6, and still take what routers
	// announce on the primary NIC.
	IPv6Router bool `json:"ipv6_router,omitempty"`

	// Sys and Proc are where sysfs and procfs are mounted; empty for /sys and
	// /proc.
	Sys  string `json:"-"`
	Proc string `json:"-"`
	// ReportPath is where the Report is kept; empty for DefaultReport.
	ReportPath string `json:"-"`
	// NewBridge, if any, is told the link name of a bridge NIC that was not
	// there when the system began, and that of the bridge NIC before, if it was
	// another.
	NewBridge func(link, old string) error `json:"-"`
	// Now and After are the clock; nil for that of package time. A Time with a
	// monotonic reading shows that the wall clock has been set.
	Now   func() time.Time                     `json:"-"`
	After func(time.Duration) <-chan time.Time `json:"-"`
}

// ErrRelease as the cause of Run's context having ended gives the leases back
// (RFC 2131 section 4.4.6): the system is about to power off.
var ErrRelease = errors.New("the leases are released")

func (c *Config) setDefaults() {
	if c.Sys == "" {
		c.Sys = "/sys"
	}
	if c.Proc == "" {
		c.Proc = "/proc"
	}
	if c.ReportPath == "" {
		c.ReportPath = DefaultReport
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.After == nil {
		c.After = time.After
	}
}
