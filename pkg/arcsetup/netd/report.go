package netd

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup/wholefile"
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
)

// NIC is the state of one NIC. What follows Error is as of the lease and empty
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

	Addresses []netip.Prefix `json:"addresses,omitempty"`
	Gateway   netip.Addr     `json:"gateway,omitzero"`
	Routes    []Route        `json:"routes,omitempty"`
	DNS       []netip.Addr   `json:"dns,omitempty"`
	Server    netip.Addr     `json:"server,omitzero"`
	// LeaseSeconds is 0, and Expires the zero time, for a lease without end.
	LeaseSeconds int64     `json:"lease_seconds,omitempty"`
	Obtained     time.Time `json:"obtained,omitzero"`
	Expires      time.Time `json:"expires,omitzero"`
	// ConfiguredNS is when the NIC got this configuration first, in
	// nanoseconds of CLOCK_BOOTTIME: since the kernel started.
	ConfiguredNS int64 `json:"configured_boottime_ns,omitempty"`
}

// Route is an IPv4 route by way of a NIC. Without a gateway the destination is
// on the link.
type Route struct {
	Dst     netip.Prefix `json:"dst"`
	Gateway netip.Addr   `json:"gateway,omitzero"`
}

// nic returns the NIC of role in r, nil where there is none.
func (r *Report) nic(role Role) *NIC {
	for i := range r.NICs {
		if r.NICs[i].Role == role {
			return &r.NICs[i]
		}
	}
	return nil
}

func (r *Report) add(n NIC) {
	r.NICs = append(r.NICs, n)
	slices.SortFunc(r.NICs, func(a, b NIC) int { return cmp.Compare(b.Role, a.Role) })
}

func (r *Report) remove(role Role) {
	r.NICs = slices.DeleteFunc(r.NICs, func(n NIC) bool { return n.Role == role })
}

// ReadReport reads the Report in the file path.
func ReadReport(path string) (Report, error) {
	var r Report
	b, err := os.ReadFile(path)
	if err != nil {
		return r, fmt.Errorf("read network report: %w", err)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("parse network report %s: %w", path, err)
	}
	return r, nil
}

// write replaces the file path with r, so that a reader sees the old or the new
// one.
func (r Report) write(path string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("network report: %w", err)
	}
	if err := wholefile.Write(path, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("network report: %w", err)
	}
	return nil
}
