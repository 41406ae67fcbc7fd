package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// Network is what the host configures of the network.
type Network struct {
	// Primary and Bridge name a NIC by link name or MAC address. If empty, the
	// order of the NICs decides.
	Primary, Bridge string
	// NICs are further NICs with a role.
	NICs []NIC
	// ProbeAddress has the daemon check that no other host uses an address
	// before it takes the address.
	ProbeAddress bool
	// ReleaseOnPowerOff releases the leases before the system powers off.
	ReleaseOnPowerOff bool
	// IPv6Router forwards IPv6 and still accepts router advertisements on the
	// primary NIC.
	IPv6Router bool
}

// NIC is a NIC that is neither primary nor bridge.
type NIC struct {
	NIC  string // link name or MAC address
	Role string // dhcp, dhcp-no-route, static or off
	// Address is the address and prefix length of a NIC with the role static.
	Address netip.Prefix
}

// networkFile is [network] of arcinit.toml.
type networkFile struct {
	Primary, Bridge   *string
	ProbeAddress      bool `toml:"probe_address"`
	ReleaseOnPowerOff bool `toml:"release_on_poweroff"`
	IPv6Router        bool `toml:"ipv6_router"`
	NIC               []struct {
		NIC, Role string
		Address   *string
	}
}

// setNetwork sets what the file configures.
func (n *Network) setNetwork(f networkFile, refused *refusals) {
	refused.add("network.primary", take(&n.Primary, f.Primary, checked(checkNIC)))
	refused.add("network.bridge", take(&n.Bridge, f.Bridge, checked(checkNIC)))
	n.ProbeAddress, n.ReleaseOnPowerOff, n.IPv6Router = f.ProbeAddress, f.ReleaseOnPowerOff, f.IPv6Router
	for i, e := range f.NIC {
		nic := NIC{NIC: e.NIC, Role: e.Role}
		var err error
		if e.Address != nil {
			nic.Address, err = parseAddress(*e.Address)
		}
		if err == nil {
			err = n.check(nic)
		}
		if err != nil {
			refused.ignore(entry("network.nic", i, e.NIC), err)
			continue
		}
		n.NICs = append(n.NICs, nic)
	}
}

// check reports why nic cannot be added to the others.
func (n *Network) check(nic NIC) error {
	if err := checkNIC(nic.NIC); err != nil {
		return err
	}
	if err := checkWord(nic.Role, "dhcp", "dhcp-no-route", "static", "off"); err != nil {
		return fmt.Errorf("role %w", err)
	}
	same := func(other NIC) bool { return strings.EqualFold(other.NIC, nic.NIC) }
	switch {
	case slices.ContainsFunc(slices.Concat(n.NICs, []NIC{{NIC: n.Primary}, {NIC: n.Bridge}}), same):
		return errors.New("this NIC already has a role")
	case nic.Role == "static" && !nic.Address.IsValid():
		return errors.New("role \"static\" needs an address")
	case nic.Role != "static" && nic.Address.IsValid():
		return fmt.Errorf("role %q does not take an address", nic.Role)
	}
	return nil
}

// maxLinkName is the longest name of a link, in bytes: IFNAMSIZ of linux/if.h
// without the NUL.
const maxLinkName = 15

// checkNIC reports why v is neither a link name (dev_valid_name in
// net/core/dev.c) nor a MAC address.
func checkNIC(v string) error {
	if _, err := net.ParseMAC(v); err == nil {
		return nil
	}
	if v == "" || len(v) > maxLinkName || v == "." || v == ".." || strings.ContainsAny(v, "/: \t\n\v\f\r\x00") {
		return fmt.Errorf("NIC %q is neither a link name nor a MAC address", v)
	}
	return nil
}

// parseAddress reads the IPv4 address of a host with its prefix length.
func parseAddress(v string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(v)
	if err != nil || !p.Addr().Is4() || p.Bits() == 0 || p.Addr().IsUnspecified() || p.Addr().IsLoopback() || p.Addr().IsMulticast() {
		return netip.Prefix{}, fmt.Errorf("address %q is not a host's IPv4 address such as \"192.0.2.5/24\"", v)
	}
	return p, nil
}
