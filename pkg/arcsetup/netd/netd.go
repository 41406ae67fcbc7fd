// Package netd is the network daemon: NIC roles, the firewall's rules, DHCP leases, addresses, routes and MTU. It should be a process of
// its own, because it parses messages from the network. At worst a hostile packet ends the daemon, which can be started again at any time.
//
// The package must not know who started it. It never touches /etc/resolv.conf: the Report has the name
// servers, for a program that forwards to them. The DHCP library logs through the standard logger.
package netd

import (
	"cmp"
	"errors"
	"net/netip"
	"os"
	"time"
)

// Config configures the daemon. The zero value configures the first two NICs of
// the running system. As JSON it has all fields but the functions and channels.
type Config struct {
	Roles
	// SandboxSubnet is the IPv4 subnet that the firewall accepts forwarded packets from and to. The zero value leaves these rules out.
	SandboxSubnet netip.Prefix `json:"sandbox_subnet,omitzero"`
	// Hostname is sent to the DHCP servers (option 12) unless it is empty.
	Hostname string `json:"hostname,omitempty"`
	// ProbeAddress makes the daemon probe the link for an address before it uses the address, which takes a second (RFC 5227 section 2.1.1).
	ProbeAddress bool `json:"probe_address,omitempty"`
	// IPv6Router makes the guest forward IPv6.
	IPv6Router bool `json:"ipv6_router,omitempty"`

	// Sys is where sysfs is mounted: /sys if empty.
	Sys string `json:"sys,omitempty"`
	// ReportPath is the Report's file: DefaultReport if empty.
	ReportPath string `json:"report_path,omitempty"`

	// Hosts is the hosts file, which gets the host's address as host.docker.internal once the file HostsAfter is there: before, the
	// guest's /etc may not be. Without a path no file is written.
	Hosts      string `json:"hosts,omitempty"`
	HostsAfter string `json:"hosts_after,omitempty"`

	// LookAgain: with each value received, the daemon restores what another program changed or removed. Nil turns this off.
	LookAgain <-chan os.Signal `json:"-"`
	// Now and After are the clock, package time's if nil. Now must return times
	// with a monotonic reading, so that the daemon notices a wall-clock jump.
	Now   func() time.Time                     `json:"-"`
	After func(time.Duration) <-chan time.Time `json:"-"`
}

// ErrRelease, as the cause of the end of Run's context, makes Run release the
// leases (RFC 2131 section 4.4.6), because the system is about to power off.
var ErrRelease = errors.New("the leases are released")

func (c *Config) setDefaults() {
	c.Sys = cmp.Or(c.Sys, "/sys")
	c.ReportPath = cmp.Or(c.ReportPath, DefaultReport)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.After == nil {
		c.After = time.After
	}
}
