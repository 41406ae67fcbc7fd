//go:build guesttest

package firewall

import (
	"cmp"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// These tests change the network and need the real iptables. TestPackagesInGuest of
// vmtests runs them in a guest.

// inNamespace moves the test's thread, and the processes that the test starts, into a
// new network namespace. The thread ends with the test.
func inNamespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("new network namespace: %v", err)
	}
}

// iptables runs the real program and returns its output. The test fails if the program
// prints a warning or an error.
func iptables(t *testing.T, args ...string) string {
	t.Helper()
	return iptablesWith(t, "", "", args...)
}

// iptablesWith runs iptables or, with a suffix such as -save, another program of its
// family. The environment variable IPTABLES is the command for iptables.
func iptablesWith(t *testing.T, suffix, stdin string, args ...string) string {
	t.Helper()
	command := strings.Fields(cmp.Or(os.Getenv("IPTABLES"), "iptables-nft") + suffix)
	cmd := exec.Command(command[0], append(command[1:], args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 || strings.Contains(strings.ToLower(string(out)), "incompatible") {
		t.Fatalf("%s: %v\n%s%s", cmd, err, &stderr, out)
	}
	return string(out)
}

func apply(t *testing.T, rules []Rule, wantChanged bool) {
	t.Helper()
	changed, err := applyBatch(rules, nil)
	if err != nil || changed != wantChanged {
		t.Fatalf("applyBatch = %v, %v, want %v", changed, err, wantChanged)
	}
}

func testRules() []Rule {
	var rules []Rule
	for _, link := range []string{"eth1", "fifteenbyte1234", "e.1-@é"} {
		rules = append(rules, BridgeRules(link)...)
	}
	for _, subnet := range []string{"172.20.0.0/16", "10.1.2.3/20", "10.0.0.0/8", "128.0.0.0/1", "192.0.2.1/32", "192.0.2.0/31"} {
		rules = append(rules, SandboxRules(netip.MustParsePrefix(subnet))...)
	}
	return rules
}

// args returns the arguments of an iptables command for a rule of chain.
func args(command, chain string, r Rule) []string {
	return append([]string{command, chain}, strings.Fields(r.String())...)
}

// restore runs the same iptables command for each rule and chain in one process, since
// each process takes a third of a second on an emulated CPU.
func restore(t *testing.T, command string, rules []Rule) {
	t.Helper()
	var s strings.Builder
	s.WriteString("*filter\n")
	for _, chain := range []string{"FORWARD", "DOCKER-USER"} {
		for _, r := range rules {
			s.WriteString(strings.Join(args(command, chain, r), " ") + "\n")
		}
	}
	s.WriteString("COMMIT\n")
	iptablesWith(t, "-restore", s.String(), "--noflush")
}

func TestFwRulesAreIptablesRules(t *testing.T) {
	inNamespace(t)
	rules := testRules()
	apply(t, rules, true)
	apply(t, rules, false)

	want := "-P FORWARD ACCEPT\n"
	for _, r := range rules {
		want += "-A FORWARD " + r.String() + "\n"
	}
	if got := iptables(t, "-S", "FORWARD"); got != want {
		t.Errorf("iptables -S FORWARD:\n%swant:\n%s", got, want)
	}
	want = strings.NewReplacer("-P FORWARD ACCEPT", "-N DOCKER-USER", "-A FORWARD", "-A DOCKER-USER").Replace(want)
	if got := iptables(t, "-S", "DOCKER-USER"); got != want {
		t.Errorf("iptables -S DOCKER-USER:\n%swant:\n%s", got, want)
	}

	for _, chain := range []string{"FORWARD", "DOCKER-USER"} {
		table := iptables(t, "-L", chain, "-v", "-n", "--line-numbers")
		if n := len(regexp.MustCompile(`(?m)^\d.* ACCEPT `).FindAllString(table, -1)); n != len(rules) {
			t.Errorf("iptables -L %s -v has %d rules, want %d:\n%s", chain, n, len(rules), table)
		}
		if chain == "FORWARD" {
			for _, r := range rules {
				iptables(t, args("-C", chain, r)...)
			}
		}
		// Other programs add rules around and between ours.
		iptables(t, "-I", chain, "-i", "docker0", "-j", "DROP")
		iptables(t, "-I", chain, "3", "-p", "tcp", "--dport", "80", "-j", "ACCEPT")
		iptables(t, "-A", chain, "-j", "RETURN")
	}
	apply(t, rules, false)
	iptables(t, args("-D", "FORWARD", rules[0])...)
	apply(t, rules, true)
	restore(t, "-D", rules)
	if got := iptables(t, "-S"); strings.Contains(got, "eth1") || strings.Contains(got, "172.20") {
		t.Errorf("after deletion:\n%s", got)
	}
	apply(t, rules, true)
}

// TestFwKnowsRulesIptablesWrote saves Apply's rules with iptables and restores them.
func TestFwKnowsRulesIptablesWrote(t *testing.T) {
	inNamespace(t)
	rules := testRules()
	apply(t, rules, true)
	for _, policy := range []string{"ACCEPT", "DROP"} {
		iptables(t, "-P", "FORWARD", policy)
		saved := iptables(t, "-S")
		iptablesWith(t, "-restore", iptablesWith(t, "-save", "", "-c"), "-c")
		if got := iptables(t, "-S"); got != saved {
			t.Errorf("saved:\n%srestored:\n%s", saved, got)
		}
		apply(t, rules, false)
		if got := iptables(t, "-S"); got != saved {
			t.Errorf("saved:\n%safter Apply:\n%s", saved, got)
		}
	}
}

func TestFwKnowsRulesIptablesMade(t *testing.T) {
	inNamespace(t)
	rules := testRules()
	iptables(t, "-N", "DOCKER-USER")
	restore(t, "-I", rules)
	before := iptables(t, "-S")
	apply(t, rules, false)
	if after := iptables(t, "-S"); after != before {
		t.Errorf("before:\n%safter:\n%s", before, after)
	}
}

func TestFwAddsOnlyWhatIsMissing(t *testing.T) {
	inNamespace(t)
	iptables(t, "-P", "FORWARD", "DROP")
	iptables(t, "-A", "FORWARD", "-o", "eth1", "-j", "DROP")
	// Rules that are almost ours: with a wildcard, a further match, another verdict.
	iptables(t, "-A", "FORWARD", "-i", "eth1+", "-j", "ACCEPT")
	iptables(t, "-A", "FORWARD", "-i", "eth1", "-p", "tcp", "-j", "ACCEPT")
	iptables(t, "-A", "FORWARD", "-i", "eth1", "-j", "DROP")
	iptables(t, "-A", "FORWARD", "-o", "eth1", "-m", "conntrack", "--ctstate", "ESTABLISHED", "-j", "ACCEPT")
	rules := BridgeRules("eth1")
	apply(t, rules, true)
	iptables(t, args("-D", "FORWARD", rules[0])...)
	apply(t, rules, true)
	apply(t, rules, false)
	got := iptables(t, "-S", "FORWARD")
	want := `-P FORWARD DROP
-A FORWARD -i eth1 -j ACCEPT
-A FORWARD -o eth1 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o eth1 -j DROP
-A FORWARD -i eth1+ -j ACCEPT
-A FORWARD -i eth1 -p tcp -j ACCEPT
-A FORWARD -i eth1 -j DROP
-A FORWARD -o eth1 -m conntrack --ctstate ESTABLISHED -j ACCEPT
`
	if got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}

// TestFwRemoves removes a link's rules, in the batch that adds another link's, and
// no other rules.
func TestFwRemoves(t *testing.T) {
	inNamespace(t)
	remove := func(wantChanged bool) {
		t.Helper()
		if changed, err := applyBatch(BridgeRules("eth7"), BridgeRules("eth1")); err != nil || changed != wantChanged {
			t.Errorf("applyBatch = %v, %v, want %v", changed, err, wantChanged)
		}
	}
	if changed, err := applyBatch(nil, BridgeRules("eth1")); err != nil || changed {
		t.Errorf("applyBatch = %v, %v, with nothing to do", changed, err)
	}
	if got := iptables(t, "-S"); strings.Contains(got, "DOCKER-USER") {
		t.Errorf("removing rules created a chain:\n%s", got)
	}
	stay := append(BridgeRules("eth10"), SandboxRules(netip.MustParsePrefix("172.20.0.0/16"))...)
	apply(t, append(BridgeRules("eth1"), stay...), true)
	for _, rule := range []string{"-i eth1+ -j ACCEPT", "-i eth1 -p tcp -j ACCEPT", "-i eth1 -j DROP", "-o eth1 -j ACCEPT"} {
		iptables(t, append([]string{"-A", "FORWARD"}, strings.Fields(rule)...)...)
	}
	before := iptables(t, "-S")
	iptables(t, args("-A", "FORWARD", BridgeRules("eth1")[1])...) // once more
	remove(true)
	want := before
	for _, chain := range []string{"FORWARD", "DOCKER-USER"} {
		for _, r := range BridgeRules("eth1") {
			want = strings.Replace(want, "-A "+chain+" "+r.String()+"\n", "", 1)
		}
		var added string
		for _, r := range BridgeRules("eth7") {
			added += "-A " + chain + " " + r.String() + "\n"
		}
		want = strings.Replace(want, "-A "+chain, added+"-A "+chain, 1)
	}
	if got := iptables(t, "-S"); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
	remove(false)
}

// TestFwGuards keeps the order of the rules that guard a subnet, whichever of them is missing.
func TestFwGuards(t *testing.T) {
	inNamespace(t)
	rules := IsolationRules(netip.MustParsePrefix("172.20.0.0/16"))
	iptables(t, "-t", "mangle", "-A", "PREROUTING", "-i", "eth0", "-j", "ACCEPT")
	const want = `-P PREROUTING ACCEPT
-A PREROUTING -d 172.20.0.1/32 -i vmtap+ -j ACCEPT
-A PREROUTING -d 172.20.0.0/16 -i vmtap+ -j DROP
-A PREROUTING -i eth0 -j ACCEPT
`
	for _, missing := range []string{"", "-d 172.20.0.1/32 -i vmtap+ -j ACCEPT", "-d 172.20.0.0/16 -i vmtap+ -j DROP"} {
		if missing != "" {
			iptables(t, append([]string{"-t", "mangle", "-D", "PREROUTING"}, strings.Fields(missing)...)...)
		}
		apply(t, rules, true)
		apply(t, rules, false)
		if got := iptables(t, "-t", "mangle", "-S", "PREROUTING"); got != want {
			t.Errorf("without %q, got:\n%swant:\n%s", missing, got, want)
		}
	}
	iptables(t, "-t", "mangle", "-C", "PREROUTING", "-i", "vmtap+", "-d", "172.20.0.0/16", "-j", "DROP")
}

func TestFwRefusedRulesChangeNothing(t *testing.T) {
	inNamespace(t)
	if err := Apply(append(BridgeRules("eth1"), BridgeRules("")...), nil); err == nil {
		t.Error("no error for a rule without a link name")
	}
	if got := iptables(t, "-S", "FORWARD"); got != "-P FORWARD ACCEPT\n" {
		t.Errorf("rules:\n%s", got)
	}
}
