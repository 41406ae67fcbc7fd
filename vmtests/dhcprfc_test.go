package vmtests

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// requirement is a sentence of an RFC that binds a DHCP client, in our words. It has tests, or the reason why there is none.
type requirement struct {
	rfc, section, level, text string
	tests                     []string // a test, or a test and its subtest
	reason                    string
}

// held returns a requirement with tests, unheld one with a reason.
func held(rfc, section, level, text string, tests ...string) requirement {
	return requirement{rfc, section, level, text, tests, ""}
}

func unheld(rfc, section, level, text, reason string) requirement {
	return requirement{rfc, section, level, text, nil, reason}
}

// The tests that hold most of them.
const (
	musts   = "MUST"
	mustNot = "MUST NOT"
	should  = "SHOULD"
	says    = "" // without one of the words

	sentBy = "TestDHCPCases/what the guest sends"
)

var dhcpRequirements = []requirement{
	held("2131", "2", musts, "accept a message with 312 bytes of options, 576 bytes in all", "TestDHCPCases/the largest message"),
	held("2131", "2", musts, "be able to receive unicast before the address is configured, or set the broadcast flag", "TestServerAppears"),
	held("2131", "3.1", should, "wait at least 10 s after a DECLINE", "TestProbe"),
	held("2131", "3.1", should, "check an address by ARP before it is used", "TestProbe"),
	held("2131", "3.1", musts, "send DECLINE if another host has the address", "TestProbe"),
	held("2131", "3.1", says, "restart after a NAK", "TestDHCPCases/NAK after the offer", "TestShortLeases/refused"),
	held("2131", "3.1", musts, "name the chosen server in the REQUEST", sentBy),
	held("2131", "3.1", musts, "put the offered address into option 50 of that REQUEST", sentBy),
	held("2131", "3.1", musts, "send that REQUEST with the same number of seconds as the DISCOVER, to the same broadcast address", sentBy),
	held("2131", "3.1", should, "send REQUEST again often enough, four times within a minute", "TestPausesFillTheTry", "TestLoss"),
	held("2131", "3.1", musts, "use the same client identifier when it releases a lease as when it got the lease", "TestShortLeases/released"),
	held("2131", "3.2", musts, "ask for the earlier address by option 50 after a reboot", "TestLeaseAskedForAgain/daemon"),
	held("2131", "3.2", mustNot, "fill in ciaddr when it asks so", "TestLeaseAskedForAgain/daemon"),
	held("2131", "3.2", musts, "send DECLINE and start over if the earlier address is in use", "TestProbe"),
	held("2131", "3.3", says, "take 2^32-1 s as a lease without end", "TestDHCPCases/without end"),
	held("2131", "3.5", musts, "ask for the same parameters in each message", sentBy),
	held("2131", "3.5", should, "put the size of the largest message that it takes into DISCOVER and REQUEST", sentBy),
	held("2131", "3.7", should, "ask again when the link or the network may have changed", "TestLeaseAskedForAgain/cable", "TestLeaseAskedForAgain/link"),
	held("2131", "4.1", musts, "end options with option 255, and use the four bytes of the cookie", sentBy),
	held("2131", "4.1", says, "take options that are in several pieces", "TestDHCPCases/option 121 in pieces", "TestUnfold"),
	held("2131", "4.1", musts, "read file and sname if option 52 says so", "TestDHCPCases/options in file", "TestDHCPCases/options in sname", "TestDHCPCases/options in file and sname"),
	held("2131", "4.1", musts, "read the options field first, then file, then sname", "TestUnfold"),
	held("2131", "4.1", musts, "choose IDs of transactions that other clients do not have", "TestServerAppears", sentBy),
	held("2131", "4.1", musts, "send a message again after a random and growing time", "TestRandomly", "TestPausesFillTheTry"),
	held("2131", "4.1", should, "double the time to about a minute", "TestTryTime"),
	held("2131", "4.1", musts, "broadcast from 0.0.0.0 before it has an address", sentBy),
	unheld("2131", "4.1", should, "set the broadcast flag if it cannot receive unicast without an address", "the client receives by a packet socket, so it can"),
	held("2131", "4.1", says, "receive broadcasts, although it did not ask for them", "TestDHCPCases/broadcasts only"),
	held("2131", "4.2", musts, "use its client identifier in all messages, if it has one", sentBy, "TestShortLeases/released"),
	held("2131", "4.3.1", says, "pass over an offer without an address or with no time", "TestDHCPCases/an offer of no host's address", "TestDHCPCases/no time at all"),
	held("2131", "4.3.2", mustNot, "name a server or put option 50 into a REQUEST that renews", "TestDHCPCases/broadcasts only", "TestDHCPCases/no server identifier"),
	held("2131", "4.3.2", musts, "fill in ciaddr in a REQUEST that renews or rebinds", "TestDHCPCases/broadcasts only", "TestDHCPCases/rebound by another server"),
	held("2131", "4.3.2", musts, "send a REQUEST that renews to the server alone, and one that rebinds to all", "TestShortLeases", "TestDHCPCases/rebound by another server"),
	unheld("2131", "4.4.1", should, "wait a random time of 1 to 10 s before the first DISCOVER", "by choice: a guest needs its network at once. What it sends again has random pauses"),
	held("2131", "4.4.1", musts, "put its hardware address into chaddr", sentBy),
	held("2131", "4.4.1", musts, "drop an offer of another transaction", "TestDHCPCases/another transaction"),
	held("2131", "4.4.1", says, "count the lease from the moment when the REQUEST was sent", "TestDHCPCases/an ACK after a second"),
	held("2131", "4.4.1", should, "announce a new address by ARP", "TestDHCPCases/announced"),
	held("2131", "4.4.2", musts, "start over if an earlier address is refused", "TestLeaseAskedForAgain/daemon, refused"),
	unheld("2131", "4.4.3", mustNot, "ask for a lease time in INFORM", "the client sends no INFORM"),
	unheld("2131", "4.4.4", should, "fall back to broadcast if a server that was configured does not answer", "no server can be configured"),
	held("2131", "4.4.5", musts, "renew at T1 and rebind at T2, if the server gives them", "TestDHCPCases/T1 alone", "TestDHCPCases/rebound by another server"),
	held("2131", "4.4.5", musts, "have T1 before T2, and T2 before the end", "TestDHCPCases/T2 before T1", "TestDHCPCases/T1 after the end", "TestDHCPCases/a late T1 alone"),
	held("2131", "4.4.5", says, "renew after half of the lease and rebind after seven eighths otherwise", sentBy, "TestDHCPCases/T2 alone"),
	unheld("2131", "4.4.5", should, "choose T1 and T2 with a random part", "by choice: the times are as the server said, or the defaults; tries have random lengths"),
	held("2131", "4.4.5", should, "ask again after half of the time to T2, or to the end, but not before a minute", "TestAgain"),
	held("2131", "4.4.5", musts, "stop using the address when the lease ends", "TestShortLeases/silence"),
	held("2131", "4.4.5", should, "continue with the same address, if it gets it back", "TestLeaseAskedForAgain/pause"),
	unheld("2131", "4.4.6", says, "release the lease when it is no longer needed", "the guest keeps its address for the next boot; release_on_poweroff = true releases it (TestShortLeases)"),

	held("2132", "2", mustNot, "depend on a NUL at the end of text, and cut one that is there", "TestDHCPCases/names that end with NUL"),
	held("2132", "2", musts, "skip options that it does not know, by their length", "TestDHCPCases/options that nobody asked for"),
	held("2132", "3.1", musts, "skip padding of one byte", "TestDHCPCases/padding between options"),
	held("2132", "3.2", musts, "ignore what follows the option 255", "TestDHCPCases/garbage after the end"),
	held("2132", "3.5", should, "prefer the first router", "TestDHCPCases/several routers"),
	held("2132", "3.8", should, "prefer the first name server", "TestParseLease"),
	held("2132", "3.14", says, "take a host name, with or without the domain", "TestDHCPCases/dots around names"),
	held("2132", "5.1", says, "take no MTU below 68", "TestDHCPCases/MTU 68"),
	held("2132", "9.3", says, "take 1, 2 and 3 as the values of option 52", "TestDHCPCases/overload of an unknown kind", "TestDHCPCases/overload of nothing"),
	held("2132", "9.7", says, "use the server identifier as the address to renew with", "TestDHCPCases/a server behind the router", "TestDHCPCases/a sender that is not the server"),
	held("2132", "9.10", says, "say at least 576 bytes in option 57", sentBy),
	held("2132", "9.14", musts, "have an identifier that no other client of the network has", sentBy),

	held("3396", "5", musts, "join the pieces of an option in the order of the fields", "TestUnfold"),
	held("3396", "7", musts, "join pieces before it looks at the option", "TestDHCPCases/a domain in pieces", "TestDHCPCases/option 121 in pieces"),
	unheld("3396", "7", musts, "split an option of more than 255 bytes when it sends one", "the client sends no option that long"),

	held("3442", "2", musts, "install the routes that option 121 has", "TestDHCPCases/option 121 and no router"),
	held("3442", "2", musts, "ignore option 3 if there is an option 121", "TestDHCPCases/the router beside other routes", "TestDHCPCases/a router beside a broken 121"),
	held("3442", "2", musts, "set bits of a destination that are outside the mask to zero", "TestDHCPCases/bits of a route beyond its length"),
	held("3442", "2", says, "take a router of 0.0.0.0 as a destination on the link", "TestLeaseContents/option 121 over 3"),
	unheld("3442", "2", mustNot, "use option 33 beside option 121", "the client never asks for option 33, and never uses it"),
	held("3442", "2", musts, "ask for option 121 before option 3", "TestServerAppears"),
	held("3442", "2", musts, "ask for option 3 as well, if option 121 is asked for", "TestServerAppears"),

	unheld("4361", "6.1", musts, "make the client identifier of type 255, an IAID and a DUID", "by choice: hosts find a guest's lease by its MAC address, and a guest without a disk has no other identity that lasts"),
	held("4361", "6.1", musts, "send a client identifier", sentBy),
	held("4361", "6.4", musts, "use one identifier for the whole life of the lease", "TestShortLeases/released", sentBy),

	held("6842", "3", musts, "drop a reply with another client identifier", "TestDHCPCases/for another client of this MAC address", "TestDHCPCases/NAK for another client of this MAC address"),
	held("6842", "3", musts, "take a reply without a client identifier", "TestDHCPCases/ACK of another server"),

	held("5227", "2.1", musts, "probe before it uses an address", "TestProbe"),
	held("5227", "2.1", musts, "probe from 0.0.0.0", "TestProbe"),
	unheld("5227", "2.1", musts, "probe without configuration", "probe_address = true turns it on: a probe makes each boot a second longer, and servers look for the address themselves"),
	held("5227", "2.1.1", musts, "take an ARP packet from the address, or another host's probe for it, as a conflict", "TestProbe", "FuzzClaimant"),
	unheld("5227", "2.1.1", should, "wait up to 2 s before and between the probes", "a virtual network has one switch: three probes take a second"),
	held("5227", "2.1.1", musts, "have at most one address try in 10 s after a conflict", "TestProbe"),
	held("5227", "2.3", musts, "announce the address twice, 2 s apart", "TestDHCPCases/announced"),
	unheld("5227", "2.4", musts, "answer a conflict that arises later by defending or giving up the address", "the kernel answers ARP for its address; the daemon does not watch for conflicts. The server decides at the next renewal"),

	unheld("4388", "all", musts, "answer and send queries for leases", "lease queries are between relays and servers; a client neither sends nor gets one"),
}

// TestDHCPRequirements checks that each requirement has a test that exists, or a reason, and that docs/dhcp.md has the table. UPDATE=1 writes it.
func TestDHCPRequirements(t *testing.T) {
	source := testSource(t)
	var table strings.Builder
	table.WriteString("| RFC | section | level | a client has to | held by |\n|---|---|---|---|---|\n")
	for _, r := range dhcpRequirements {
		if (len(r.tests) == 0) == (r.reason == "") {
			t.Errorf("RFC %s section %s, %q: want tests or a reason", r.rfc, r.section, r.text)
		}
		by := r.reason
		for i, name := range r.tests {
			source.has(t, name)
			if i > 0 {
				by += ", "
			}
			by += "`" + name + "`"
		}
		fmt.Fprintf(&table, "| %s | %s | %s | %s | %s |\n", r.rfc, r.section, r.level, r.text, by)
	}
	comparePart(t, "requirements", table.String())
}

// source is the files of all tests that requirements may name.
type source []string

func testSource(t *testing.T) (all source) {
	t.Helper()
	for _, pattern := range []string{"*_test.go", "dhcppeer/*_test.go", "../pkg/arcsetup/netd/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || files == nil {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, string(text))
		}
	}
	return all
}

// has checks that a test exists and, in the same file, its subtest, whose name must be a literal.
func (s source) has(t *testing.T, name string) {
	t.Helper()
	test, sub, isSub := strings.Cut(name, "/")
	i := slices.IndexFunc(s, func(text string) bool { return strings.Contains(text, "\nfunc "+test+"(") })
	if i < 0 {
		t.Errorf("there is no test %s", test)
	} else if isSub && !strings.Contains(s[i], `t.Run("`+sub+`"`) && !strings.Contains(s[i], `{name: "`+sub+`"`) {
		t.Errorf("%s has no subtest %q", test, sub)
	}
}

// comparePart fails unless the part of docs/dhcp.md between two comments has this content. UPDATE=1 writes the part first.
func comparePart(t *testing.T, name, want string) {
	t.Helper()
	const file = "../docs/dhcp.md"
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	part := regexp.MustCompile(`(?s)(<!-- ` + name + ` -->\n).*?(<!-- end of ` + name + ` -->\n)`)
	if !part.Match(page) {
		t.Fatalf("%s has no part %s", file, name)
	}
	wanted := part.ReplaceAllString(string(page), "${1}"+strings.ReplaceAll(want, "$", "$$")+"${2}")
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(wanted), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if string(page) != wanted {
		t.Errorf("the part %s of %s differs; UPDATE=1 go test ./vmtests -run DHCP writes it", name, file)
	}
}
