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

// The levels, as the RFCs write them, and the tests that hold most of them.
const (
	musts     = "MUST"
	mustNot   = "MUST NOT"
	should    = "SHOULD"
	shouldNot = "SHOULD NOT"
	says      = "" // without one of these words, or with one in small letters

	sentBy  = "TestDHCPCases/what the guest sends"
	always  = "TestDHCPCases/every message"
	release = "TestShortLeases/released"
)

var dhcpRequirements = []requirement{
	held("2131", "1.6", says, "be prepared to get several answers", "TestDHCPCases/twenty offers", "TestDHCPCases/offers of ten servers", "TestDHCPCases/everything twice"),
	held("2131", "2", says, "accept a message with 312 bytes of options, 576 bytes in all", "TestDHCPCases/the largest message"),
	held("2131", "2", should, "receive unicast to its hardware address before the IP address is configured", "TestServerAppears"),
	held("2131", "2", musts, "set the reserved bits of flags to zero", always, "TestMessageRules"),
	held("2131", "2", musts, "have an identifier that no other client of the subnet has", always),
	held("2131", "2", musts, "use that identifier in all messages", always, "TestProbe", release),
	held("2131", "2", says, "set hops to zero", always, "TestMessageRules"),
	held("2131", "2", says, "count the seconds from the start of the exchange", "TestServerAppears"),
	held("2131", "2.2", should, "probe a new address, for example by ARP", "TestProbe"),
	held("2131", "3", says, "begin the options with the cookie, and have a message type in each message", always, "TestMessageRules"),
	held("2131", "3.1", should, "check the parameters in an ACK, for example the address by ARP", "TestProbe"),
	held("2131", "3.1", musts, "send DECLINE if another host has the address", "TestProbe"),
	held("2131", "3.1", should, "wait at least 10 s after a DECLINE", "TestProbe"),
	held("2131", "3.1", says, "restart after a NAK", "TestDHCPCases/NAK after the offer", "TestDHCPCases/NAK without a server identifier", "TestShortLeases/refused"),
	held("2131", "3.1", musts, "name the chosen server in the REQUEST", sentBy, always),
	held("2131", "3.1", musts, "put the offered address into option 50 of that REQUEST", sentBy, always),
	held("2131", "3.1", musts, "send that REQUEST with the same number of seconds as the DISCOVER, to the same broadcast address", always, "TestMessageRules"),
	held("2131", "3.1", says, "send DISCOVER again if no OFFER comes", "TestServerAppears", "TestDHCPCases/an answer that is lost"),
	held("2131", "3.1", says, "send REQUEST again often enough, for example four times", "TestPausesFillTheTry", "TestLoss"),
	held("2131", "3.1", says, "start over if neither ACK nor NAK comes", "TestHostile/offers, then silence"),
	held("2131", "3.1", should, "tell the user that it starts over", "TestServerAppears"),
	held("2131", "3.1", musts, "use the same client identifier when it releases a lease as when it got the lease", release),
	held("2131", "3.2", mustNot, "fill in ciaddr when it asks for an earlier address", "TestLeaseAskedForAgain/daemon", always),
	held("2131", "3.2", musts, "use the same client identifier when it asks for an earlier address", always),
	held("2131", "3.2", musts, "send DECLINE and start over if the earlier address is in use", "TestProbe"),
	held("2131", "3.2", says, "start over if an earlier address is refused", "TestLeaseAskedForAgain/daemon, refused", "TestLeaseAskedForAgain/lost"),
	held("2131", "3.2", says, "keep the address until its lease ends if no server answers, if it likes", "TestShortLeases/silence"),
	held("2131", "3.3", says, "take 2^32-1 s as a lease without end", "TestDHCPCases/without end", "TestDHCPCases/the longest time with an end"),
	held("2131", "3.3", says, "count times by its own clock", "TestLeaseAskedForAgain/clock", "TestAsleep"),
	held("2131", "3.5", musts, "ask for the same parameters in each REQUEST as in the DISCOVER", always, "TestMessageRules"),
	held("2131", "3.5", should, "say the size of the largest message that it takes", always),
	held("2131", "3.5", says, "use defaults for what the server does not say", "TestDHCPCases/ACK of nothing but an address"),
	held("2131", "3.6", says, "use DHCP through each interface independently", "TestServerAppears", "TestShortLeases", "TestDHCPFlaps"),
	held("2131", "3.7", should, "ask again when the link or the network may have changed", "TestLeaseAskedForAgain/cable", "TestLeaseAskedForAgain/link", "TestDHCPFlaps"),
	held("2131", "3.7", says, "stop using the address at once when the lease ends", "TestShortLeases/silence"),
	held("2131", "4.1", says, "end the options with option 255", always, "TestMessageRules"),
	held("2131", "4.1", musts, "send unicast messages to the server identifier", "TestDHCPCases/a server behind the router", "TestDHCPCases/a sender that is not the server"),
	held("2131", "4.1", says, "broadcast from 0.0.0.0 before it has an address", always, "TestMessageRules"),
	held("2131", "4.1", says, "read file and sname if option 52 says so", "TestDHCPCases/options in file", "TestDHCPCases/options in sname", "TestDHCPCases/options in file and sname"),
	held("2131", "4.1", musts, "read the options field first, then file, then sname", "TestUnfold"),
	held("2131", "4.1", says, "join the values of an option that is there several times", "TestDHCPCases/option 121 in pieces", "TestDHCPCases/overload twice", "TestUnfold"),
	held("2131", "4.1", musts, "send a message again after a random and growing time", "TestRandomly", "TestPausesFillTheTry"),
	unheld("2131", "4.1", should, "wait 4 s before it sends a message again", "by choice: on a virtual network an answer takes milliseconds. A try begins with short pauses, and has time for a slow answer"),
	held("2131", "4.1", should, "double the time, up to 64 s", "TestPausesFillTheTry", "TestTryTime"),
	held("2131", "4.1", musts, "choose IDs of transactions that other clients do not have", "TestServerAppears", sentBy),
	unheld("2131", "4.1", should, "set the broadcast flag if it cannot receive unicast without an address", "the client receives by a packet socket, so it can"),
	held("2131", "4.1", should, "clear the broadcast flag if it can receive unicast without an address", always, "TestMessageRules"),
	held("2131", "4.1", says, "receive broadcasts, although it did not ask for them", "TestDHCPCases/broadcasts only", "TestDHCPCases/a relay that broadcasts"),
	held("2131", "4.2", musts, "use its client identifier in all messages, if it has one", always, "TestProbe", release),
	unheld("2131", "4.2", should, "let the user choose the vendor class", "the class is always arcinit, by which a server can tell such guests from other hosts"),
	held("2131", "4.3.2", should, "configure what the ACK says, not what the OFFER said", "TestDHCPCases/ACK of other times", "TestDHCPCases/ACK of another address", "TestDHCPCases/ACK without a lease time"),
	held("2131", "4.3.2", says, "try again if it gets no OFFER that it can use", "TestDHCPCases/an offer of no host's address", "TestDHCPCases/no time at all", "TestDHCPCases/a good offer after a bad one"),
	held("2131", "4.3.2", musts, "have no ciaddr in a REQUEST that takes an offer", always, "TestMessageRules"),
	held("2131", "4.3.2", mustNot, "name a server in a REQUEST for an earlier address", "TestLeaseAskedForAgain/daemon", always),
	held("2131", "4.3.2", musts, "have no ciaddr in a REQUEST for an earlier address", "TestLeaseAskedForAgain/daemon", always),
	held("2131", "4.3.2", mustNot, "name a server or put option 50 into a REQUEST that renews or rebinds", "TestDHCPCases/broadcasts only", always, "TestMessageRules"),
	held("2131", "4.3.2", musts, "fill in ciaddr in a REQUEST that renews or rebinds", "TestDHCPCases/broadcasts only", "TestDHCPCases/rebound by another server", always),
	held("2131", "4.3.2", says, "send a REQUEST that renews to the server alone", "TestShortLeases", always),
	held("2131", "4.3.2", musts, "broadcast a REQUEST that rebinds", "TestShortLeases/silence", "TestDHCPCases/rebound by another server", always),
	held("2131", "4.4", says, "discard OFFER, ACK and NAK while it is bound", "TestDHCPCases/ACK and NAK while bound", "TestDHCPCases/ACK and then NAK"),
	unheld("2131", "4.4.1", should, "wait a random time of 1 to 10 s before the first DISCOVER", "by choice: a guest needs its network at once. What it sends again has random pauses"),
	held("2131", "4.4.1", musts, "put its hardware address into chaddr", always, "TestMessageRules"),
	held("2131", "4.4.1", says, "discard an OFFER of another transaction", "TestDHCPCases/another transaction"),
	held("2131", "4.4.1", says, "discard an ACK while it waits for an OFFER", "TestDHCPCases/ACK in place of an OFFER"),
	held("2131", "4.4.1", mustNot, "name a server in a DISCOVER (table 5)", always, "TestMessageRules"),
	held("2131", "4.4.1", shouldNot, "put a text into DISCOVER or REQUEST (table 5)", always, "TestMessageRules"),
	held("2131", "4.4.1", musts, "name the server in DECLINE and RELEASE, and the address in option 50 of DECLINE (table 5)", "TestProbe", release),
	held("2131", "4.4.1", mustNot, "ask for parameters or a lease time, or say a class or a size, in DECLINE and RELEASE (table 5)", "TestProbe", release, "TestMessageRules"),
	unheld("2131", "4.4.1", should, "put a text into DECLINE and RELEASE (table 5)", "the guest's log and its report have the reason for a DECLINE"),
	held("2131", "4.4.1", says, "take the transaction of the OFFER for the REQUEST", always, "TestMessageRules"),
	held("2131", "4.4.1", says, "count the lease from the moment when the REQUEST was sent", "TestDHCPCases/an ACK after a second"),
	held("2131", "4.4.1", says, "probe with 0.0.0.0 as the sender's address", "TestProbe"),
	held("2131", "4.4.1", should, "announce a new address by ARP", "TestDHCPCases/announced"),
	held("2131", "4.4.2", musts, "ask for an earlier address by option 50", "TestLeaseAskedForAgain/daemon", always),
	held("2131", "4.4.2", says, "take an ACK of any server for an earlier address", "TestDHCPCases/an earlier address, from another server"),
	unheld("2131", "4.4.3", shouldNot, "ask for a lease time in INFORM", "the client sends no INFORM"),
	unheld("2131", "4.4.4", says, "fall back to broadcast if a server that it knows does not answer a DISCOVER", "the client broadcasts each DISCOVER"),
	held("2131", "4.4.4", says, "send RELEASE to the server alone, and broadcast DECLINE", release, "TestProbe"),
	held("2131", "4.4.5", says, "renew at T1 and rebind at T2, if the server gives them", "TestDHCPCases/T1 alone", "TestShortLeases/silence", "TestDHCPCases/rebound by another server"),
	held("2131", "4.4.5", musts, "have T1 before T2, and T2 before the end", "TestDHCPCases/T2 before T1", "TestDHCPCases/T1 after the end", "TestDHCPCases/a late T1 alone"),
	held("2131", "4.4.5", says, "renew after half of the lease and rebind after seven eighths otherwise", sentBy, "TestDHCPCases/T2 alone"),
	unheld("2131", "4.4.5", should, "choose T1 and T2 with a random part", "by choice: the times are as the server said, or the defaults; tries have random lengths"),
	held("2131", "4.4.5", says, "discard an ACK of another transaction", "TestDHCPCases/another transaction"),
	held("2131", "4.4.5", says, "count a renewed lease from its REQUEST", "TestDHCPCases/renewed by an ACK after a second"),
	held("2131", "4.4.5", should, "ask again after half of the time to T2, or to the end, but not before a minute", "TestAgain"),
	held("2131", "4.4.5", musts, "stop using the address when the lease ends", "TestShortLeases/silence"),
	held("2131", "4.4.5", should, "continue with the same address, if it gets it back", "TestAsleep"),
	held("2131", "4.4.5", mustNot, "use the earlier address after it got another one", "TestFastServer", "TestShortLeases/other addresses"),
	held("2131", "4.4.5", should, "tell the user that it got another address", "TestFastServer"),
	unheld("2131", "4.4.6", says, "release the lease when it is no longer needed", "the guest keeps its address for the next boot; release_on_poweroff = true releases it (TestShortLeases)"),

	held("2132", "2", musts, "cut a NUL at the end of text", "TestDHCPCases/names that end with NUL"),
	held("2132", "2", mustNot, "depend on a NUL at the end of text", "TestDHCPCases/a domain of several names"),
	held("2132", "2", says, "skip options that it does not know, by their length", "TestDHCPCases/options that nobody asked for", "TestDHCPCases/options of no length"),
	held("2132", "3.1", says, "skip padding of one byte", "TestDHCPCases/padding between options"),
	held("2132", "3.2", says, "ignore what follows the option 255", "TestDHCPCases/garbage after the end"),
	held("2132", "3.3", says, "use the mask of option 1", "TestDHCPCases/a short mask", "TestDHCPCases/a mask of all bits"),
	held("2132", "3.5", says, "prefer the first router", "TestDHCPCases/several routers"),
	held("2132", "3.8", says, "keep name servers in their order", "TestDHCPCases/nine name servers", "TestParseLease"),
	held("2132", "3.14", says, "take a host name, with or without the domain", "TestDHCPCases/dots around names"),
	held("2132", "3.17", says, "take the domain of option 15", "TestDHCPCases/dots around names"),
	held("2132", "5.1", says, "take no MTU below 68", "TestDHCPCases/MTU 68"),
	held("2132", "9.3", says, "take 1, 2 and 3 as the values of option 52, and no others",
		"TestDHCPCases/options in file", "TestDHCPCases/options in sname", "TestDHCPCases/overload of an unknown kind", "TestDHCPCases/overload twice"),
	held("2132", "9.6", says, "have and take one byte in option 53", always, "TestDHCPCases/a message type of two bytes", "TestDHCPCases/two message types"),
	held("2132", "9.7", says, "tell offers apart by the server identifier, and say so which one it takes", "TestDHCPCases/offers of ten servers", "TestDHCPCases/ACK of another server"),
	held("2132", "9.7", says, "use the server identifier as the address to renew with", "TestDHCPCases/a server behind the router", "TestDHCPCases/a sender that is not the server"),
	held("2132", "9.7", says, "take an ACK and a NAK without a server identifier", "TestDHCPCases/renewed without a server identifier", "TestDHCPCases/NAK without a server identifier"),
	held("2132", "9.10", says, "say at least 576 bytes in option 57, and nothing in a DECLINE", always, "TestProbe", "TestMessageRules"),
	held("2132", "9.14", musts, "have an identifier that no other client of the subnet has", always),
	held("2132", "9.14", should, "use a type of hardware in an identifier that is a hardware address", always, "TestMessageRules"),

	held("3396", "1", musts, "join the pieces of an option that is there several times", "TestDHCPCases/a domain in pieces", "TestDHCPCases/option 121 in pieces"),
	held("3396", "5", musts, "join the pieces in the order of the fields options, file and sname", "TestUnfold"),
	unheld("3396", "6", musts, "split an option of more than 255 bytes when it sends one", "the client sends no option that long"),
	held("3396", "7", musts, "join pieces before it looks at the option", "TestDHCPCases/a domain in pieces", "TestDHCPCases/two message types"),

	held("3442", "Classless Route Option Format", says, "ignore an option 121 of impossible lengths", "TestDHCPCases/routes of impossible lengths", "TestDHCPCases/a router beside a broken 121"),
	held("3442", "Classless Route Option Format", says, "set bits of a destination that are outside the mask to zero", "TestDHCPCases/bits of a route beyond its length"),
	held("3442", "Local Subnet Routes", says, "take a router of 0.0.0.0 as a destination on the link",
		"TestLeaseContents/option 121 over 3", "TestDHCPCases/a mask of all bits, and a route to the router", "TestDHCPCases/a default route on the link"),
	held("3442", "DHCP Client Behavior", musts, "install the routes that option 121 has", "TestDHCPCases/option 121 and no router", "TestDHCPCases/65 routes"),
	held("3442", "DHCP Client Behavior", musts, "ignore option 3 if there is an option 121", "TestDHCPCases/the router beside other routes", "TestDHCPCases/a router beside a broken 121"),
	unheld("3442", "DHCP Client Behavior", mustNot, "use option 33 beside option 121", "the client never asks for option 33, and never uses it"),
	held("3442", "DHCP Client Behavior", musts, "ask for option 121 before option 3", "TestServerAppears"),
	held("3442", "DHCP Client Behavior", musts, "ask for option 3 as well, if option 121 is asked for", "TestServerAppears"),
	held("3442", "Requirements to Avoid Sizing Constraints", should, "say the size of the largest message that it takes", always),
	held("3442", "Requirements to Avoid Sizing Constraints", musts, "join option 121 if it is in pieces", "TestDHCPCases/option 121 in pieces", "TestDHCPCases/65 routes"),

	unheld("4361", "6.1", musts, "make the client identifier of type 255, an IAID and a DUID", "by choice: hosts find a guest's lease by its MAC address, and a guest without a disk has no other identity that lasts"),
	unheld("4361", "6.1", mustNot, "use an identifier made of nothing but the MAC address", "by choice, for the same reasons"),
	unheld("4361", "6.1", should, "show the DUID, let it be configured, and use one for all interfaces", "the client has no DUID"),
	held("4361", "6.4", musts, "send a client identifier, and the same in all messages", always, "TestProbe", release),

	held("6842", "3", musts, "discard a reply with another client identifier", "TestDHCPCases/for another client of this MAC address", "TestDHCPCases/NAK for another client of this MAC address"),
	held("6842", "3", says, "take a reply without a client identifier", "TestDHCPCases/replies without a client identifier"),

	held("5227", "2.1", musts, "probe before it uses an address", "TestProbe"),
	unheld("5227", "2.1", musts, "probe without configuration", "probe_address = true turns it on: a probe makes each boot a second longer, and servers look for the address themselves"),
	held("5227", "2.1", mustNot, "probe again and again", "TestProbe"),
	held("5227", "2.1.1", musts, "probe from 0.0.0.0 and its own hardware address", "TestProbe"),
	held("5227", "2.1.1", musts, "take an ARP packet of another host from the address as a conflict", "TestProbe", "TestClaimant"),
	held("5227", "2.1.1", should, "take another host's probe for the address as a conflict", "TestClaimant"),
	unheld("5227", "2.1.1", says, "wait up to a second before the first probe, 1 to 2 s between the probes, and 2 s after the last one", "a virtual network has one switch: three probes take a second. Section 2.2 allows shorter times"),
	held("5227", "2.1.1", musts, "try at most one address a minute after ten conflicts", "TestAfterConflict"),
	held("5227", "2.3", musts, "announce the address twice, 2 s apart", "TestDHCPCases/announced"),
	unheld("5227", "2.4", musts, "answer a conflict that arises later by defending or giving up the address", "the kernel answers ARP for its address; the daemon does not watch for conflicts. The server decides at the next renewal"),
	held("5227", "2.5", musts, "answer ARP requests for its address", "TestServerAppears", "TestDHCPRenewals"),

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
