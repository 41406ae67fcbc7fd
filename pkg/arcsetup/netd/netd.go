package netd

import "time"

// Config is what the daemon needs to know. The zero value configures the first
// two NICs of the running system.
type Config struct {
	// Sys and Proc are where sysfs and procfs are mounted; empty for /sys and
	// /proc.
	Sys, Proc string
	// Primary and Bridge name a NIC by link name or MAC address; empty leaves
	// the choice to the order of the NICs, see FindRoles.
	Primary, Bridge string
	// Hostname is told to the DHCP servers (option 12) unless it is empty.
	Hostname string
	// ReportPath is where the Report is kept; empty for DefaultReport.
	ReportPath string
	// Now and After are the clock; nil for that of package time.
	Now   func() time.Time
	After func(time.Duration) <-chan time.Time
}

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
