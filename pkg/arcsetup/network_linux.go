package arcsetup

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// forwarding makes the guest an IPv4 router and sets lo up. A container engine that finds ip_forward on leaves the FORWARD policy alone.
func (g *Guest) forwarding() (bool, error) {
	changed, err := g.setSysctl("net/ipv4/ip_forward", "1")
	up, errUp := setLinkUp("lo")
	if errUp != nil {
		errUp = fmt.Errorf("set lo up: %w", errUp)
	}
	return changed || up, errors.Join(err, errUp)
}

// setLinkUp sets a link up by ioctls (netdevice(7)), which take less time than netlink.
func setLinkUp(name string) (changed bool, err error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(socket) //nolint:errcheck // nothing was written to it
	request, err := unix.NewIfreq(name)
	if err == nil {
		err = unix.IoctlIfreq(socket, unix.SIOCGIFFLAGS, request)
	}
	if err != nil || request.Uint16()&unix.IFF_UP != 0 {
		return false, err
	}
	request.SetUint16(request.Uint16() | unix.IFF_UP)
	return true, unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request)
}
