// Package netd is the network daemon. It gives the NICs their roles, applies the
// firewall's rules, gets DHCP leases for all NICs at once, configures the links, and
// renews the leases until it is told to end. It is meant to be a process of its own,
// because it parses messages from the network: at worst, a hostile packet ends the
// daemon, which can be started again at any time.
//
// It must not know who started it, and it never touches /etc/resolv.conf: the Report
// has the name servers, for whoever forwards to them.
//
// The DHCP library logs through the standard logger, to standard error unless somebody
// changes that.
package netd
