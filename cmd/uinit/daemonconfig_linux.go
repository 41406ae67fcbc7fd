package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"

	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
)

// daemonConfig is what the network daemon is told, by its arguments: words
// KEY=VALUE, as ps shows them. To read them takes the daemon no time, of which
// the boot has little.
type daemonConfig struct {
	netd.Config
	log slog.Level
}

// Keys of the arguments. A further NIC is NIC,ROLE and, of role static, ,ADDRESS.
const (
	argPrimary      = "primary"
	argBridge       = "bridge"
	argNIC          = "nic"
	argHostname     = "hostname"
	argProbeAddress = "probe_address"
	argIPv6Router   = "ipv6_router"
	argLog          = "log"
)

// args are the arguments that parseDaemonConfig reads.
func (c daemonConfig) args() []string {
	var args []string
	add := func(key, value string) {
		if value != "" {
			args = append(args, key+"="+value)
		}
	}
	yes := func(is bool) string {
		if is {
			return "yes"
		}
		return ""
	}
	add(argPrimary, c.Primary)
	add(argBridge, c.Bridge)
	for _, f := range c.Further {
		nic := f.NIC + "," + string(f.Role)
		if f.Address.IsValid() {
			nic += "," + f.Address.String()
		}
		add(argNIC, nic)
	}
	add(argHostname, c.Hostname)
	add(argProbeAddress, yes(c.ProbeAddress))
	add(argIPv6Router, yes(c.IPv6Router))
	add(argLog, c.log.String())
	return args
}

// parseDaemonConfig reads arguments. The error says which were not understood; the
// others hold.
func parseDaemonConfig(args []string) (c daemonConfig, err error) {
	var errs []error
	for _, arg := range args {
		key, value, _ := strings.Cut(arg, "=")
		var err error
		switch key {
		case argPrimary:
			c.Primary = value
		case argBridge:
			c.Bridge = value
		case argNIC:
			var f netd.Further
			f, err = parseFurther(value)
			c.Further = append(c.Further, f)
		case argHostname:
			c.Hostname = value
		case argProbeAddress:
			c.ProbeAddress = true
		case argIPv6Router:
			c.IPv6Router = true
		case argLog:
			err = c.log.UnmarshalText([]byte(value))
		default:
			err = errors.New("unknown")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("argument %q: %w", arg, err))
		}
	}
	return c, errors.Join(errs...)
}

func parseFurther(value string) (f netd.Further, err error) {
	nic, rest, _ := strings.Cut(value, ",")
	role, address, _ := strings.Cut(rest, ",")
	f = netd.Further{NIC: nic, Role: netd.Role(role)}
	if address != "" {
		f.Address, err = netip.ParsePrefix(address)
	}
	return f, err
}
