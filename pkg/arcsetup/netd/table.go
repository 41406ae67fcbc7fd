package netd

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

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
