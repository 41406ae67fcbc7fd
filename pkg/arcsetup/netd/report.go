package netd

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/renameio/v2"
)

// DefaultReport is where the Report is kept unless the Config says otherwise.
const DefaultReport = "/run/arcbox/net.json"

// Report is the state of the network, kept as JSON in a file that is replaced
// whenever it changes.
type Report struct {
	// NICs lists the NICs that have a role, the primary one first.
	NICs []NIC `json:"nics"`
}

// State is how far a NIC has come.
type State string

const (
	// StateNoCarrier is a link that is not up yet.
	StateNoCarrier State = "no-carrier"
	// StateDiscovering is a NIC for which no server has given a lease yet.
	StateDiscovering State = "discovering"
	// StateBound is a NIC configured with a lease that holds.
	StateBound State = "bound"
	// StateRenewing is a NIC whose server does not answer when the lease is to
	// be renewed, StateRebinding one for which no other does, either. The lease
	// holds until it expires.
	StateRenewing  State = "renewing"
	StateRebinding State = "rebinding"
	// StateStatic is a NIC configured with the host's own choice.
	StateStatic State = "static"
	// StateOff is a NIC that is not used.
	StateOff State = "off"
)

// NIC is the state of one NIC. What follows Messages is as of the lease and empty
// without one.
type NIC struct {
	Role  Role   `json:"role"`
	Name  string `json:"name"`
	MAC   string `json:"mac"`
	State State  `json:"state"`
	// MTU of the link, in bytes.
	MTU int `json:"mtu,omitempty"`
	// Error is the last thing that went wrong and has not gone right since.
	Error string `json:"error,omitempty"`
	// Messages counts the DHCP messages since the daemon found the NIC.
	Messages Messages `json:"messages,omitzero"`

	Addresses []netip.Prefix `json:"addresses,omitempty"`
	Gateway   netip.Addr     `json:"gateway,omitzero"`
	Routes    []Route        `json:"routes,omitempty"`
	// DNS, Domain and Search are for whoever forwards names, Hostname is what
	// the server calls this guest. The daemon puts them nowhere else.
	DNS      []netip.Addr `json:"dns,omitempty"`
	Domain   string       `json:"domain,omitempty"`
	Search   []string     `json:"search,omitempty"`
	Hostname string       `json:"hostname,omitempty"`
	Server   netip.Addr   `json:"server,omitzero"`
	// LeaseSeconds is 0, and Renews, Rebinds and Expires the zero time, for a
	// lease without end.
	LeaseSeconds int64     `json:"lease_seconds,omitempty"`
	Obtained     time.Time `json:"obtained,omitzero"`
	Renews       time.Time `json:"renews,omitzero"`
	Rebinds      time.Time `json:"rebinds,omitzero"`
	Expires      time.Time `json:"expires,omitzero"`
	// ConfiguredNS is when the NIC got this configuration first, in
	// nanoseconds of CLOCK_BOOTTIME: since the kernel started.
	ConfiguredNS int64 `json:"configured_boottime_ns,omitempty"`
}

// Messages are numbers of DHCP messages on the link, by type ("DISCOVER", "ACK").
type Messages struct {
	Sent     map[string]int `json:"sent,omitempty"`
	Received map[string]int `json:"received,omitempty"`
	// Malformed are those that are no DHCP messages.
	Malformed int `json:"malformed,omitempty"`
	// First are the first of them, maxFirst at most, in their order: by them it
	// shows what a boot waited for.
	First []Message `json:"first,omitempty"`
}

// maxFirst is enough for three tries without an answer and then a lease.
const maxFirst = 16

// Message is one DHCP message.
type Message struct {
	Type string `json:"type"`
	// AtNS is when it was sent or heard, in nanoseconds of CLOCK_BOOTTIME.
	AtNS int64 `json:"boottime_ns"`
}

// IsZero reports whether there were none.
func (m Messages) IsZero() bool {
	return len(m.Sent) == 0 && len(m.Received) == 0 && m.Malformed == 0
}

// Route is an IPv4 route by way of a NIC. Without a gateway the destination is
// on the link.
type Route struct {
	Dst     netip.Prefix `json:"dst"`
	Gateway netip.Addr   `json:"gateway,omitzero"`
}

// nic returns the NIC of that name in r, nil where there is none.
func (r *Report) nic(name string) *NIC {
	for i := range r.NICs {
		if r.NICs[i].Name == name {
			return &r.NICs[i]
		}
	}
	return nil
}

// roleOrder is the order of the NICs in a Report; those of one role come by name.
var roleOrder = [...]Role{RolePrimary, RoleBridge, RoleDHCP, RoleDHCPNoRoute, RoleStatic, RoleOff}

func (r *Report) add(n NIC) {
	at, _ := slices.BinarySearchFunc(r.NICs, n, func(a, b NIC) int {
		return cmp.Or(cmp.Compare(slices.Index(roleOrder[:], a.Role), slices.Index(roleOrder[:], b.Role)), compareNatural(a.Name, b.Name))
	})
	r.NICs = slices.Insert(r.NICs, at, n)
}

func (r *Report) remove(name string) {
	r.NICs = slices.DeleteFunc(r.NICs, func(n NIC) bool { return n.Name == name })
}

// forget removes what is known of the NIC with that MAC address.
func (r *Report) forget(mac string) {
	r.NICs = slices.DeleteFunc(r.NICs, func(n NIC) bool { return n.MAC == mac })
}

// leased returns the address that the NIC with that MAC address has leased, if
// its time is not over. The file may have been written by anyone.
func (r *Report) leased(mac string, now time.Time) netip.Prefix {
	for _, n := range r.NICs {
		if n.MAC == mac && !n.Obtained.IsZero() && len(n.Addresses) == 1 && (n.Expires.IsZero() || now.Before(n.Expires)) {
			if p := n.Addresses[0]; p.Addr().Is4() && isUnicast(p.Addr()) && p.Bits() >= minPrefix {
				return p
			}
		}
	}
	return netip.Prefix{}
}

// hasRole says whether the NIC of that name has, or had, the role.
func (r *Report) hasRole(name string, role Role) bool {
	n := r.nic(name)
	return n != nil && n.Role == role
}

// withRole returns the first NIC that has, or had, the role, nil where there is
// none.
func (r *Report) withRole(role Role) *NIC {
	for i := range r.NICs {
		if r.NICs[i].Role == role {
			return &r.NICs[i]
		}
	}
	return nil
}

// Bridge is the link name of the bridge NIC; empty where there is none.
func (r *Report) Bridge() string {
	if n := r.withRole(RoleBridge); n != nil {
		return n.Name
	}
	return ""
}

// ReadReport reads the Report in the file path.
func ReadReport(path string) (Report, error) {
	var r Report
	b, err := os.ReadFile(path)
	if err != nil {
		return r, fmt.Errorf("read network report: %w", err)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return Report{}, fmt.Errorf("parse network report %s: %w", path, err)
	}
	return r, nil
}

// write replaces the file path with r, so that a reader sees the old or the new
// one.
func (r Report) write(path string) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("network report: %w", err)
	}
	err = os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = renameio.WriteFile(path, append(b, '\n'), 0o644, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(0o644))
	}
	if err != nil {
		return fmt.Errorf("network report: %w", err)
	}
	return nil
}
