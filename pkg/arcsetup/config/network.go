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
	// Primary and Bridge name a NIC by link name or MAC address. If empty, the order of the NICs decides.
	Primary, Bridge   string `toml:"-"`
	NICs              []NIC  `toml:"-"`                   // further NICs with a role
	ProbeAddress      bool   `toml:"probe_address"`       // check that no other host uses an address before taking it
	ReleaseOnPowerOff bool   `toml:"release_on_poweroff"` // release the leases before the system powers off
	IPv6Router        bool   `toml:"ipv6_router"`         // forward IPv6, and still accept router advertisements on the primary NIC
}

// NIC is a NIC that is neither primary nor bridge.
type NIC struct {
	NIC     string       // link name or MAC address
	Role    string       // dhcp, dhcp-no-route, static or off
	Address netip.Prefix // with the role static
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
