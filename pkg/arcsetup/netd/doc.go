// Package netd is the network daemon: it finds the NICs and gives each its
// role, gets DHCP leases for all of them at once, configures the links and keeps
// the leases alive until it is told to end. It is meant to be a process of its
// own, as it parses what comes from the network: what a hostile packet can do at
// worst is to end it, and it can be started again at any time.
//
// It must not know who started it, and never touches /etc/resolv.conf: the name
// servers of the leases are in the Report for whoever forwards.
//
// The DHCP library logs through the standard logger. Whoever runs the daemon
// sends that somewhere quiet: slog.SetDefault with slog.SetLogLoggerLevel makes
// debug records of it.
package netd
