package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Network is what the host configures of the network.
type Network struct {
	// Primary and Bridge name a NIC by link name or MAC address. If empty, the
	// order of the NICs decides.
	Primary, Bridge string `toml:"-"`
	// NICs are further NICs with a role.
	NICs []NIC `toml:"-"`
	// ProbeAddress has the daemon check that no other host uses an address
	// before it takes the address.
	ProbeAddress bool `toml:"probe_address"`
	// ReleaseOnPowerOff releases the leases before the system powers off.
	ReleaseOnPowerOff bool `toml:"release_on_poweroff"`
	// IPv6Router forwards IPv6 and still accepts router advertisements on the
	// primary NIC.
	IPv6Router bool `toml:"ipv6_router"`
}

// NIC is a NIC that is neither primary nor bridge.
type NIC struct {
	NIC  string // link name or MAC address
	Role string // dhcp, dhcp-no-route, static or off
	// Address is the address and prefix length of a NIC with the role static.
	Address netip.Prefix
}

// addNIC adds a NIC with this address, unless it is invalid or already has a role.
func (n *Network) addNIC(nic NIC, address *string) (err error) {
	if err := checkNIC(nic.NIC); err != nil {
		return err
	}
	if err := oneOf("dhcp", "dhcp-no-route", "static", "off")(nic.Role); err != nil {
		return fmt.Errorf("role %w", err)
	}
	if address != nil {
		if nic.Address, err = parseAddress(*address); err != nil {
			return err
		}
	}
	same := func(other NIC) bool { return strings.EqualFold(other.NIC, nic.NIC) }
	switch {
	case slices.ContainsFunc(slices.Concat(n.NICs, []NIC{{NIC: n.Primary}, {NIC: n.Bridge}}), same):
		return errors.New("this NIC already has a role")
	case nic.Role == "static" && address == nil:
		return errors.New("role \"static\" needs an address")
	case nic.Role != "static" && address != nil:
		return fmt.Errorf("role %q does not take an address", nic.Role)
	}
	n.NICs = append(n.NICs, nic)
	return nil
}
