package arcsetup

import (
	"errors"
	"fmt"
	"os"

	"github.com/arcinit/arcinit/pkg/arcsetup/config"
	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
	"github.com/arcinit/arcinit/pkg/arcsetup/netd/firewall"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"golang.org/x/sys/unix"
)

// forwarding turns the guest into a router, which resets the settings of all
// interfaces, and brings lo up. That the engine finds it on keeps dockerd from
// setting the FORWARD policy to DROP.
func (g *Guest) forwarding() (bool, error) {
	changed, err := g.setSysctl("net/ipv4/ip_forward", "1")
	up, errUp := setLinkUp("lo")
	return changed || up, errors.Join(err, errUp)
}

// setLinkUp brings a link up by ioctl: netdevice(7) does with three system calls
// what PID 1 would otherwise link a netlink library for. The kernel gives lo its
// addresses itself.
func setLinkUp(name string) (changed bool, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("bring link %s up: %w", name, err)
		}
	}()
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(socket) //nolint:errcheck // nothing was written to it
	request, err := unix.NewIfreq(name)
	if err != nil {
		return false, err
	}
	if err := unix.IoctlIfreq(socket, unix.SIOCGIFFLAGS, request); err != nil {
		return false, err
	}
	if request.Uint16()&unix.IFF_UP != 0 {
		return false, nil
	}
	request.SetUint16(request.Uint16() | unix.IFF_UP)
	return true, unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request)
}

// NICRoles is what the network daemon is told of the NICs' roles.
func NICRoles(n config.Network) netd.Roles {
	roles := netd.Roles{Primary: n.Primary, Bridge: n.Bridge}
	for _, nic := range n.NICs {
		roles.Further = append(roles.Further, netd.Further{NIC: nic.NIC, Role: netd.Role(nic.Role), Address: nic.Address})
	}
	return roles
}

// bridgeRules opens the firewall for the bridge NIC. The rules stand before the
// link has an address, so that nothing waits for DHCP.
func (g *Guest) bridgeRules() (bool, error) {
	bridge, err := g.bridgeNIC()
	if bridge == "" {
		return false, plan.Absent(errors.Join(errors.New("no bridge NIC"), err))
	}
	return firewall.Apply(firewall.BridgeRules(bridge))
}

// bridgeNIC is the link name of the bridge NIC, empty where there is none. The
// network daemon knows, where it is further than this: a NIC keeps its role when it
// returns under another name.
func (g *Guest) bridgeNIC() (string, error) {
	if r, err := netd.ReadReport(g.path(netd.DefaultReport)); err == nil {
		return r.Bridge(), nil
	}
	assigned, err := netd.FindRoles(g.path("/sys"), NICRoles(g.Config.Network))
	return netd.Bridge(assigned), err
}

// MoveBridge opens the firewall for the bridge NIC of this name, and closes it for
// the old name, if there is one, which may be another NIC's by now. It is for the
// network daemon, which may call it while PID 1 does its own.
func MoveBridge(link, old string) error {
	_, err := firewall.Apply(firewall.BridgeRules(link))
	if old != "" {
		_, errOld := firewall.Remove(firewall.BridgeRules(old))
		err = errors.Join(err, errOld)
	}
	return err
}

// proxyARP has the bridge NIC answer for containers' addresses, without delay. The
// network daemon does so, too, with each NIC that becomes the bridge; what
// somebody has set since then, only this step sees.
func (g *Guest) proxyARP() (bool, error) {
	bridge, err := g.bridgeNIC()
	if bridge == "" {
		return false, plan.Absent(errors.Join(errors.New("no bridge NIC"), err))
	}
	var changed bool
	err = nil // what it says of other NICs, the daemon says
	for _, s := range netd.ProxyARP(bridge) {
		c, errSet := g.setSysctl(s.Name, s.Value)
		changed, err = changed || c, errors.Join(err, errSet)
	}
	if errors.Is(err, os.ErrNotExist) {
		err = plan.Absent(err) // the NIC is gone
	}
	return changed, err
}

func (g *Guest) sandboxRules() (bool, error) {
	return firewall.Apply(firewall.SandboxRules(g.SandboxSubnet))
}
