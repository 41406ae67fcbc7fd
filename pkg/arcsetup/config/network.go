package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// Network is what the host says of the network.
type Network struct {
	// Primary and Bridge name a NIC by link name or MAC address; empty leaves
	// the choice to the order of the NICs.
	Primary, Bridge string
	// NICs are further NICs with a role.
	NICs []NIC
	// ProbeAddress has an address looked for on the link before it is used.
	ProbeAddress bool
	// ReleaseOnPowerOff gives the leases back before the system powers off.
	ReleaseOnPowerOff bool
	// IPv6Router forwards IPv6, and takes what routers announce on the primary
	// NIC nevertheless.
	IPv6Router bool
}

// NIC is a NIC that is neither primary nor bridge.
type NIC struct {
	NIC  string // link name or MAC address
	Role string // dhcp, dhcp-no-route, static or off
	// Address is that of a static NIC, with the length of its subnet's prefix.
	Address netip.Prefix
}

// networkFile is [network] of arcinit.toml.
type networkFile struct {
	Primary, Bridge   *string
	ProbeAddress      *bool `toml:"probe_address"`
	ReleaseOnPowerOff *bool `toml:"release_on_poweroff"`
	IPv6Router        *bool `toml:"ipv6_router"`
	NIC               []struct {
		NIC, Role string
		Address   *string
	}
}

var nicRoles = []string{"dhcp", "dhcp-no-route", "static", "off"}

// merge takes over what the file says; check is told what of it is refused.
func (n *Network) merge(f networkFile, check func(key string, err error)) {
	if f.Primary != nil {
		check("network.primary", setNIC(&n.Primary, *f.Primary))
	}
	if f.Bridge != nil {
		check("network.bridge", setNIC(&n.Bridge, *f.Bridge))
	}
	take(&n.ProbeAddress, f.ProbeAddress)
	take(&n.ReleaseOnPowerOff, f.ReleaseOnPowerOff)
	take(&n.IPv6Router, f.IPv6Router)
	for i, entry := range f.NIC {
		nic := NIC{NIC: entry.NIC, Role: entry.Role}
		var err error
		if entry.Address != nil {
			nic.Address, err = parseAddress(*entry.Address)
		}
		if err == nil {
			err = n.add(nic)
		}
		if err != nil {
			check("network.nic", fmt.Errorf("%d (%s): %w", i+1, entry.NIC, err))
		}
	}
}

// take takes over a value that was given.
func take[T any](value, given *T) {
	if given != nil {
		*value = *given
	}
}

// add takes over a NIC if it makes sense.
func (n *Network) add(nic NIC) error {
	if err := checkNIC(nic.NIC); err != nil {
		return err
	}
	same := func(name string) bool { return strings.EqualFold(name, nic.NIC) }
	switch {
	case !slices.Contains(nicRoles, nic.Role):
		return fmt.Errorf("role %q: not one of %s", nic.Role, strings.Join(nicRoles, ", "))
	case same(n.Primary) || same(n.Bridge) || slices.ContainsFunc(n.NICs, func(other NIC) bool { return same(other.NIC) }):
		return errors.New("this NIC has a role already")
	case nic.Role == "static" && !nic.Address.IsValid():
		return errors.New("role static: no address")
	case nic.Role != "static" && nic.Address.IsValid():
		return fmt.Errorf("role %s: an address is for the role static", nic.Role)
	}
	n.NICs = append(n.NICs, nic)
	return nil
}

// setNIC validates the name of a NIC for a key, whichever source it came from.
func setNIC(name *string, v string) error {
	if err := checkNIC(v); err != nil {
		return err
	}
	*name = v
	return nil
}

// maxLinkName is how long a link's name may be, in bytes (IFNAMSIZ of
// linux/if.h, less the NUL).
const maxLinkName = 15

// checkNIC reports why v can be neither a link's name nor a MAC address.
func checkNIC(v string) error {
	if _, err := net.ParseMAC(v); err == nil {
		return nil
	}
	if v == "" || len(v) > maxLinkName || v == "." || v == ".." || strings.ContainsAny(v, "/: \t\n\v\f\r\x00") {
		return fmt.Errorf("NIC %q: neither a link's name nor a MAC address", v)
	}
	return nil
}

// parseAddress reads the IPv4 address of a host with its prefix length.
func parseAddress(v string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(v)
	if err != nil || !p.Addr().Is4() || p.Bits() == 0 || p.Addr().IsUnspecified() || p.Addr().IsLoopback() || p.Addr().IsMulticast() {
		return netip.Prefix{}, fmt.Errorf("address %q: not a host's IPv4 address such as \"192.0.2.5/24\"", v)
	}
	return p, nil
}
