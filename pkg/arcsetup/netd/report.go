package netd

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"sort"
	"text/tabwriter"
	"time"

	"github.com/maruel/natural"
)

// DefaultReport is the Report's file unless the Config names another.
const DefaultReport = "/run/arcbox/net.json"

// Report is the state of the network. The daemon keeps it as JSON in a file, which it replaces at each change.
type Report struct {
	// NICs are the NICs with a role, the primary NIC first.
	NICs []NIC `json:"nics"`
	// FirewallError says why rules of the firewall are missing.
	FirewallError string `json:"firewall_error,omitempty"`
}

// State is the state of a NIC.
type State string

const (
	StateNoCarrier   State = "no-carrier"  // the link is not up
	StateDiscovering State = "discovering" // without a lease
	StateBound       State = "bound"       // configured with a valid lease
	StateRenewing    State = "renewing"    // the lease is valid, but its server does not answer renewals
	StateRebinding   State = "rebinding"   // as renewing, and no other server answers, either
	StateStatic      State = "static"      // configured with an address from the configuration
	StateOff         State = "off"         // stays down
)

// NIC is the state of one NIC. The fields after Error describe its lease or static address, and are empty without one.
type NIC struct {
	Role  Role   `json:"role"`
	Name  string `json:"name"`
	MAC   string `json:"mac"`
	State State  `json:"state"`
	// MTU of the link, in bytes.
	MTU int `json:"mtu,omitempty"`
	// Error is the last error, until the NIC is configured again.
	Error string `json:"error,omitempty"`

	Addresses []netip.Prefix `json:"addresses,omitempty"`
	Gateway   netip.Addr     `json:"gateway,omitzero"`
	Routes    []Route        `json:"routes,omitempty"`
	// DNS, Domain and Search are for a program that forwards DNS queries. Hostname is the
	// server's name for this guest. The daemon itself uses none of them.
	DNS      []netip.Addr `json:"dns,omitempty"`
	Domain   string       `json:"domain,omitempty"`
	Search   []string     `json:"search,omitempty"`
	Hostname string       `json:"hostname,omitempty"`
	Server   netip.Addr   `json:"server,omitzero"`
	// LeaseSeconds, Renews, Rebinds and Expires are zero for an unlimited lease.
	LeaseSeconds int64     `json:"lease_seconds,omitempty"`
	Obtained     time.Time `json:"obtained,omitzero"`
	Renews       time.Time `json:"renews,omitzero"`
	Rebinds      time.Time `json:"rebinds,omitzero"`
	Expires      time.Time `json:"expires,omitzero"`
	// ConfiguredNS is when the NIC first got its address, in nanoseconds of CLOCK_BOOTTIME, which starts with the kernel.
	ConfiguredNS int64 `json:"configured_boottime_ns,omitempty"`
}

// Route is an IPv4 route over a NIC. Without a gateway, the destination is on the link.
type Route struct {
	Dst     netip.Prefix `json:"dst"`
	Gateway netip.Addr   `json:"gateway,omitzero"`
}

// roleOrder is the order of the NICs in a Report. NICs with the same role are in order of their names.
var roleOrder = [...]Role{RolePrimary, RoleBridge, RoleDHCP, RoleDHCPNoRoute, RoleStatic, RoleOff}

func (r *Report) sort() {
	sort.Slice(r.NICs, func(i, j int) bool {
		a, b := r.NICs[i], r.NICs[j]
		byRole := slices.Index(roleOrder[:], a.Role) - slices.Index(roleOrder[:], b.Role)
		return cmp.Or(byRole, natural.Compare(a.Name, b.Name)) < 0
	})
}

// forget removes the NIC with that MAC address.
func (r *Report) forget(mac string) {
	r.NICs = slices.DeleteFunc(r.NICs, func(n NIC) bool { return n.MAC == mac })
}

// leased returns the leased address of the NIC with that MAC address, unless the lease
// has expired or the address is invalid: any program may have written the file.
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

// withRole returns the first NIC with the role, or the zero NIC if there is none.
func (r *Report) withRole(role Role) NIC {
	for _, n := range r.NICs {
		if n.Role == role {
			return n
		}
	}
	return NIC{}
}

// ReadReport reads the Report in the file path. If there is no file, the error wraps fs.ErrNotExist.
func ReadReport(path string) (Report, error) {
	var r Report
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		return Report{}, fmt.Errorf("read the network report %s: %w", path, err)
	}
	return r, nil
}

// WriteTable prints the report for a reader, a NIC a line. The column "AFTER /init"
// counts from start, the time since the kernel's boot at which /init began.
func (r Report) WriteTable(w io.Writer, start time.Duration) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "NIC\tROLE\tSTATE\tADDRESSES\tSERVER\tUNTIL\tAFTER /init\tERROR")
	for _, n := range r.NICs {
		server, until, after := "", "", ""
		if n.Server.IsValid() {
			server = n.Server.String()
		}
		if !n.Expires.IsZero() {
			until = n.Expires.UTC().Format(time.TimeOnly)
		}
		if n.ConfiguredNS != 0 {
			after = fmt.Sprintf("%.2f ms", float64(n.ConfiguredNS-int64(start))/1e6)
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%v\t%s\t%s\t%s\t%s\n",
			n.Name, n.Role, n.State, n.Addresses, server, until, after, n.Error)
	}
	if r.FirewallError != "" {
		_, _ = fmt.Fprintf(table, "firewall: %s\n", r.FirewallError)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print the network: %w", err)
	}
	return nil
}
