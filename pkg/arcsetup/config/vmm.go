package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"github.com/BurntSushi/toml"
)

// VMMConfigKey is the environment variable, or kernel parameter, that names the
// VMM's configuration file.
const VMMConfigKey = "ARCBOX_VMM_CONFIG"

// vmmDefaultFile is read where VMMConfigKey names none that can be used.
const vmmDefaultFile = "/etc/arcbox/vmm.toml"

// DefaultSandboxSubnet is the sandbox subnet of a VMM that says nothing of it.
func DefaultSandboxSubnet() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 20, 0, 0}), 16)
}

// SandboxSubnet reads the sandbox subnet, `network.cidr` of the VMM's
// configuration: from named (empty for none), else from /etc/arcbox/vmm.toml,
// else the default. The error says what was passed over and why; the prefix is
// usable all the same. The other keys of that file belong to the VMM.
func SandboxSubnet(named string, readFile func(string) ([]byte, error)) (netip.Prefix, error) {
	var errs []error
	if named != "" {
		subnet, err := readSubnet(named, readFile)
		if err == nil && subnet.IsValid() {
			return subnet, nil
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	subnet, err := readSubnet(vmmDefaultFile, readFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	if !subnet.IsValid() {
		subnet = DefaultSandboxSubnet()
	}
	for i, err := range errs {
		errs[i] = fmt.Errorf("sandbox subnet %s used: %w", subnet, err)
	}
	return subnet, errors.Join(errs...)
}

// readSubnet returns the zero Prefix, and no error, where the file has no
// network.cidr.
func readSubnet(path string, readFile func(string) ([]byte, error)) (netip.Prefix, error) {
	text, err := readFile(path)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("VMM configuration: %w", err)
	}
	var vmm struct{ Network struct{ CIDR string } }
	if _, err := toml.Decode(string(text), &vmm); err != nil {
		return netip.Prefix{}, fmt.Errorf("VMM configuration %s: %w", path, located(err))
	}
	if vmm.Network.CIDR == "" {
		return netip.Prefix{}, nil
	}
	subnet, err := netip.ParsePrefix(vmm.Network.CIDR)
	// A subnet of every address would open the firewall for all.
	if err != nil || !subnet.Addr().Is4() || subnet.Bits() == 0 {
		return netip.Prefix{}, fmt.Errorf("VMM configuration %s: network.cidr: %q is not an IPv4 subnet such as 172.20.0.0/16", path, vmm.Network.CIDR)
	}
	return subnet.Masked(), nil
}
