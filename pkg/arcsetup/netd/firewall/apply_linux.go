package firewall

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Apply sees to it that rules are in the chains FORWARD and DOCKER-USER of the
// table `ip filter`, and reports whether it had to change anything. What is
// missing, chains and table too, goes to the top of its chain in one atomic
// batch; what is there stays where it is, and so does the policy of FORWARD.
//
// If the kernel refuses the batch, the rules are tried one by one and the error
// joins those refused, each with the kernel symbol that it wants.
//
// Several processes may call it at once: they take turns.
//
// DOCKER-USER is where Docker 28 and later look before they drop what comes for
// a container from elsewhere; an engine keeps the chain that it finds.
func Apply(rules []Rule) (changed bool, err error) { return inTurn(rules, applyTo) }

// Remove sees to it that rules are not in these chains, and reports whether it had
// to change anything. All else that is in them stays.
func Remove(rules []Rule) (changed bool, err error) { return inTurn(rules, removeFrom) }

// inTurn does to each of the chains what is to be done with rules.
func inTurn(rules []Rule, do func(*nftables.Conn, *nftables.Chain, bool, []*nftables.Rule, []Rule) (bool, error)) (changed bool, err error) {
	for _, r := range rules {
		if err := r.check(); err != nil {
			return false, err
		}
	}
	unlock, err := lock()
	if err != nil {
		return false, fmt.Errorf("change forwarding rules: %w", err)
	}
	defer unlock()
	// One socket for all: the library seeds a random generator for each.
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return false, fmt.Errorf("open netfilter netlink: %w", explainList(err))
	}
	defer conn.CloseLasting() //nolint:errcheck // all has been answered
	var errs []error
	for _, chain := range filterChains() {
		have, exists, err := list(conn, chain)
		if err != nil {
			// A kernel that does not list one chain does not list the other.
			return changed, errors.Join(append(errs, err)...)
		}
		did, err := do(conn, chain, exists, have, rules)
		changed = changed || did
		errs = append(errs, err)
	}
	return changed, errors.Join(errs...)
}

// Lacks says what the kernel lacks for any of these rules, nil for nothing. It is
// asked with a batch that it must refuse in the end, so that nothing changes.
func Lacks() error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open netfilter netlink: %w", err)
	}
	chain := filterChains()[0]
	chain.Table.Name = "arcinit-lacks"
	if _, _, err := list(conn, chain); err != nil {
		return err
	}
	conn.AddTable(chain.Table)
	conn.AddChain(chain)
	conn.InsertRule(&nftables.Rule{Table: chain.Table, Chain: chain, Exprs: Rule{out: "lo", established: true}.exprs()})
	conn.CreateTable(chain.Table) // EEXIST, since it does by now
	if err := conn.Flush(); !errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOENT) {
		return explain(err, true)
	}
	return nil
}

// filterChains are the chains that get the rules, as iptables-nft makes them.
func filterChains() []*nftables.Chain {
	table := &nftables.Table{Name: "filter", Family: nftables.TableFamilyIPv4}
	accept := nftables.ChainPolicyAccept
	return []*nftables.Chain{{
		Name:     "FORWARD",
		Table:    table,
		Type:     nftables.ChainTypeFilter,
		Hooknum:  nftables.ChainHookForward,
		Priority: nftables.ChainPriorityFilter,
		Policy:   &accept,
	}, {
		Name:  "DOCKER-USER",
		Table: table,
	}}
}

// removeFrom takes those of rules out of chain that it has, however often.
func removeFrom(conn *nftables.Conn, chain *nftables.Chain, _ bool, have []*nftables.Rule, rules []Rule) (changed bool, err error) {
	for _, h := range have {
		if !slices.ContainsFunc(rules, func(r Rule) bool { return key(r.exprs()) == key(h.Exprs) }) {
			continue
		}
		if err := conn.DelRule(h); err != nil {
			return false, fmt.Errorf("remove %q from chain %s: %w", rules, chain.Name, err)
		}
		changed = true
	}
	if !changed {
		return false, nil
	}
	if err := conn.Flush(); err != nil {
		return false, fmt.Errorf("remove %q from chain %s: %w", rules, chain.Name, err)
	}
	return true, nil
}

// applyTo puts those of rules into chain that it does not have.
func applyTo(conn *nftables.Conn, chain *nftables.Chain, exists bool, have []*nftables.Rule, rules []Rule) (changed bool, err error) {
	var keys []string
	for _, h := range have {
		keys = append(keys, key(h.Exprs))
	}
	var missing []Rule
	for _, r := range rules {
		if !slices.Contains(keys, key(r.exprs())) && !slices.Contains(missing, r) {
			missing = append(missing, r)
		}
	}
	if exists && len(missing) == 0 {
		return false, nil
	}
	errAll := insert(conn, chain, exists, missing)
	if errAll == nil || len(missing) == 0 {
		return errAll == nil, errAll
	}
	// Answers to the refused batch may still be on their way to that socket.
	_ = conn.CloseLasting()
	var errs []error
	for _, r := range slices.Backward(missing) {
		if err := insert(conn, chain, exists, []Rule{r}); err != nil {
			errs = append(errs, err)
			continue
		}
		changed, exists = true, true
	}
	return changed, errors.Join(errs...)
}

// list returns the rules in chain, and whether it exists.
func list(conn *nftables.Conn, chain *nftables.Chain) (rules []*nftables.Rule, exists bool, err error) {
	chains, err := conn.ListChainsOfTableFamily(chain.Table.Family)
	if err != nil {
		return nil, false, fmt.Errorf("list nf_tables chains: %w", explainList(err))
	}
	exists = slices.ContainsFunc(chains, func(c *nftables.Chain) bool {
		return c.Table.Name == chain.Table.Name && c.Name == chain.Name
	})
	if !exists {
		return nil, false, nil
	}
	if rules, err = conn.GetRules(chain.Table, chain); err != nil {
		return nil, true, fmt.Errorf("list rules of chain %s: %w", chain.Name, err)
	}
	return rules, true, nil
}

// insert sends one batch: table and chain unless they exist, then rules, so
// that they stand at the top of the chain in the order given.
func insert(conn *nftables.Conn, chain *nftables.Chain, exists bool, rules []Rule) error {
	if !exists {
		conn.AddTable(chain.Table)
		conn.AddChain(chain)
	}
	conntrack := false
	for _, r := range slices.Backward(rules) {
		conn.InsertRule(&nftables.Rule{Table: chain.Table, Chain: chain, Exprs: r.exprs()})
		conntrack = conntrack || r.established
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("insert %q into chain %s: %w", rules, chain.Name, explain(err, conntrack))
	}
	return nil
}

// explainList says what the kernel lacks where it does not even list: without
// nfnetlink the socket is refused, without the subsystem the request
// (nfnetlink_rcv_msg answers EINVAL). Its configuration is then to be gone over
// for all that the rules want, which it would otherwise ask for bit by bit.
func explainList(err error) error {
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("the kernel has no nf_tables, and its legacy ip_tables, if any, are not used: enable "+
			"CONFIG_NF_TABLES, CONFIG_NF_TABLES_IPV4, CONFIG_NFT_COMPAT and CONFIG_NETFILTER_XT_MATCH_CONNTRACK: %w", err)
	}
	return err
}

// explain says what the kernel lacks where it refuses a batch: the family
// (nf_tables_newtable answers EOPNOTSUPP), the chain type (ENOENT, too, but the
// family comes first), or the match (nft_match_select_ops answers ENOENT).
func explain(err error, conntrack bool) error {
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("the kernel's nf_tables has no IPv4: enable CONFIG_NF_TABLES_IPV4: %w", err)
	case errors.Is(err, unix.ENOENT) && conntrack:
		return fmt.Errorf("the kernel has no conntrack match for nf_tables: enable CONFIG_NFT_COMPAT and CONFIG_NETFILTER_XT_MATCH_CONNTRACK: %w", err)
	}
	return err
}
