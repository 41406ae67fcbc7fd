package firewall

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Apply puts the rules of add into the chains FORWARD and DOCKER-USER of the table `ip filter`, guards into PREROUTING of `ip mangle`, and
// takes the rules of remove out, in one atomic batch. It creates a missing table or chain, and inserts missing rules at the top of a chain,
// in the order given. All other rules stay as they are, and so does FORWARD's policy. Only one process may call Apply at a time.
//
// If the kernel has no conntrack match, a second batch leaves out the rules that need the match. An error names the kernel symbols that are missing.
//
// Docker 28 and later drop packets for containers from other links, unless DOCKER-USER accepts them first. Docker keeps a DOCKER-USER that exists.
func Apply(add, remove []Rule) error {
	for _, r := range slices.Concat(add, remove) {
		if err := r.check(); err != nil {
			return err
		}
	}
	if len(add)+len(remove) == 0 {
		return nil
	}
	_, err := applyBatch(add, remove)
	if errors.Is(err, errNoConntrack) {
		add = slices.DeleteFunc(slices.Clone(add), func(r Rule) bool { return r.established })
		_, errRest := applyBatch(add, remove)
		err = errors.Join(err, errRest)
	}
	return err
}

// applyBatch is Apply with one batch. It reports whether anything had to be changed.
func applyBatch(add, remove []Rule) (changed bool, err error) {
	// The library seeds a random generator for each socket, so use one socket for all requests.
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return false, fmt.Errorf("open a netfilter socket: %w", explainList(err))
	}
	defer conn.CloseLasting() //nolint:errcheck // the kernel has answered all requests
	existing, err := conn.ListChainsOfTableFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return false, fmt.Errorf("list nf_tables chains: %w", explainList(err))
	}
	var inserted []Rule
	for _, chain := range chains() {
		var rules []*nftables.Rule
		guards := chain.Table.Name == "mangle"
		add := slices.DeleteFunc(slices.Clone(add), func(r Rule) bool { return r.guard != guards })
		if slices.ContainsFunc(existing, func(c *nftables.Chain) bool { return c.Table.Name == chain.Table.Name && c.Name == chain.Name }) {
			if rules, err = conn.GetRules(chain.Table, chain); err != nil {
				return false, fmt.Errorf("list the rules of chain %s: %w", chain.Name, err)
			}
		} else if len(add) > 0 {
			conn.AddTable(chain.Table)
			conn.AddChain(chain)
			changed = true
		}
		present := make([]string, len(rules))
		for i, have := range rules {
			present[i] = key(have.Exprs)
		}
		remove := remove
		if guards && slices.ContainsFunc(add, func(r Rule) bool { return !slices.Contains(present, key(r.exprs())) }) {
			remove = add // the order of guards counts, so that all are inserted again
		}
		for i, have := range rules {
			if slices.ContainsFunc(remove, func(r Rule) bool { return key(r.exprs()) == present[i] }) {
				if err := conn.DelRule(have); err != nil {
					return false, fmt.Errorf("remove a rule of chain %s: %w", chain.Name, err)
				}
				changed = true
				present[i] = ""
			}
		}
		// The last rule that is inserted stands first in the chain.
		for _, r := range slices.Backward(add) {
			k := key(r.exprs())
			if slices.Contains(present, k) {
				continue
			}
			conn.InsertRule(&nftables.Rule{Table: chain.Table, Chain: chain, Exprs: r.exprs()})
			present = append(present, k)
			inserted = append(inserted, r)
			changed = true
		}
	}
	if !changed {
		return false, nil
	}
	if err := conn.Flush(); err != nil {
		return false, fmt.Errorf("change the forwarding rules: %w", explain(err, inserted))
	}
	return true, nil
}

// chains returns the chains that hold the rules, as iptables-nft creates them.
func chains() []*nftables.Chain {
	table := &nftables.Table{Name: "filter", Family: nftables.TableFamilyIPv4}
	return []*nftables.Chain{{
		Name: "FORWARD", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter, Policy: new(nftables.ChainPolicyAccept),
	}, {Name: "DOCKER-USER", Table: table}, {
		Name: "PREROUTING", Table: &nftables.Table{Name: "mangle", Family: nftables.TableFamilyIPv4}, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityMangle, Policy: new(nftables.ChainPolicyAccept),
	}}
}

// explainList names all kernel symbols that the rules need when the kernel lists no chains. Without nfnetlink the
// kernel refuses the socket. Without nf_tables it refuses the request (nfnetlink_rcv_msg returns EINVAL).
func explainList(err error) error {
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("the kernel has no nf_tables (arcinit does not use legacy ip_tables): enable "+
			"CONFIG_NF_TABLES, CONFIG_NF_TABLES_IPV4, CONFIG_NFT_COMPAT and CONFIG_NETFILTER_XT_MATCH_CONNTRACK: %w", err)
	}
	return err
}

// errNoConntrack is the refusal of rules that need the conntrack match.
var errNoConntrack = errors.New("the kernel has no conntrack match for nf_tables: " +
	"enable CONFIG_NFT_COMPAT and CONFIG_NETFILTER_XT_MATCH_CONNTRACK")

// explain names the kernel symbol to enable when the kernel refuses a batch that inserts these rules. Without IPv4
// tables, nf_tables_newtable returns EOPNOTSUPP. Without the match, nft_match_select_ops returns ENOENT.
func explain(err error, inserted []Rule) error {
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("the kernel's nf_tables has no IPv4: enable CONFIG_NF_TABLES_IPV4: %w", err)
	case errors.Is(err, unix.ENOENT) && slices.ContainsFunc(inserted, func(r Rule) bool { return r.established }):
		return fmt.Errorf("%w: %w", errNoConntrack, err)
	}
	return err
}
