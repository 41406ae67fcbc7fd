package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Network is what the host configures of the network.
type Network struct {
	// Primary and Bridge name a NIC by link name or MAC address. If empty, the order of the NICs decides.
	Primary, Bridge   string `toml:"-"`
	NICs              []NIC  `toml:"-"`                   // further NICs with a role
	ProbeAddress      bool   `toml:"probe_address"`       // check that no other host uses an address before taking it
	ReleaseOnPowerOff bool   `toml:"release_on_poweroff"` // release the leases before the system powers off
	IPv6Router        bool   `toml:"ipv6_router"`         // forward IPv6
}

// NIC is a NIC that is neither primary nor bridge.
type NIC struct {
	NIC     string       // link name or MAC address
	Role    string       // dhcp, dhcp-no-route, static or off
	Address netip.Prefix `toml:"-"`       // with the role static
	Text    *string      `toml:"address"` // what the file says about that
}

// checkNIC completes a NIC, unless it is invalid or already has a role.
func (n *Network) checkNIC(nic *NIC) (err error) {
	if err := checkNIC(nic.NIC); err != nil {
		return err
	}
	if err := oneOf("dhcp", "dhcp-no-route", "static", "off")(nic.Role); err != nil {
		return fmt.Errorf("role %w", err)
	}
	hasAddress := nic.Text != nil
	if hasAddress {
		nic.Address, err = parseAddress(*nic.Text)
		nic.Text = nil
	}
	switch {
	case err != nil:
		return err
	case strings.EqualFold(nic.NIC, n.Primary) || strings.EqualFold(nic.NIC, n.Bridge):
		return errors.New("this NIC already has a role")
	case nic.Role == "static" && !hasAddress:
		return errors.New("role \"static\" needs an address")
	case nic.Role != "static" && hasAddress:
		return fmt.Errorf("role %q does not take an address", nic.Role)
	}
	return nil
}
