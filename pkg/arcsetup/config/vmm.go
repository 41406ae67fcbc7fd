package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"github.com/BurntSushi/toml"
)

// VMMConfigKey is the environment variable, or kernel parameter, that names the VMM's configuration file.
const VMMConfigKey = "ARCBOX_VMM_CONFIG"

const (
	vmmDefaultFile       = "/etc/arcbox/vmm.toml" // read if VMMConfigKey names no file with a subnet
	defaultSandboxSubnet = "172.20.0.0/16"        // used if no file has a subnet
)

// SandboxSubnet returns the sandbox subnet: `network.cidr` of the file named (empty for none), else of /etc/arcbox/vmm.toml, else the default. The
// prefix is usable whatever the error, which joins one error for each file that cannot be used. The other keys of those files are the VMM's.
func SandboxSubnet(named string, readFile func(string) ([]byte, error)) (subnet netip.Prefix, err error) {
	var errs []error
	for _, path := range []string{named, vmmDefaultFile} {
		if path == "" || subnet.IsValid() {
			continue
		}
		subnet, err = readSubnet(path, readFile)
		if err != nil && (path == named || !errors.Is(err, fs.ErrNotExist)) {
			errs = append(errs, err)
		}
	}
	if !subnet.IsValid() {
		subnet = netip.MustParsePrefix(defaultSandboxSubnet)
	}
	for i, err := range errs {
		errs[i] = fmt.Errorf("VMM configuration: %w; using the sandbox subnet %s", err, subnet)
	}
	return subnet, errors.Join(errs...)
}

// readSubnet returns the zero Prefix and no error if the file has no network.cidr.
func readSubnet(path string, readFile func(string) ([]byte, error)) (netip.Prefix, error) {
	text, err := readFile(path)
	if err != nil {
		return netip.Prefix{}, err
	}
	var vmm struct{ Network struct{ CIDR string } }
	if _, err := toml.Decode(Text(text), &vmm); err != nil {
		return netip.Prefix{}, fmt.Errorf("%s: %w", path, located(err))
	}
	if vmm.Network.CIDR == "" {
		return netip.Prefix{}, nil
	}
	subnet, err := netip.ParsePrefix(vmm.Network.CIDR)
	// The firewall would accept every address of a subnet of length 0.
	if err != nil || !subnet.Addr().Is4() || subnet.Bits() == 0 {
		return netip.Prefix{}, fmt.Errorf("%s: network.cidr: %q is not an IPv4 subnet such as %s", path, vmm.Network.CIDR, defaultSandboxSubnet)
	}
	return subnet.Masked(), nil
}
