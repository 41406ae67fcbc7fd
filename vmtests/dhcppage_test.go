package vmtests

import (
	"fmt"
	"strings"
	"testing"
)

// foreignCase is a case of another client's tests or bug reports, by its name there, and the test here that holds the same.
type foreignCase struct{ suite, name, text, test string }

var foreignCases = []foreignCase{
	{"ChromiumOS", "network_DhcpNegotiationSuccess", "a lease from a good server, and its renewal", "TestShortLeases"},
	{"ChromiumOS", "network_DhcpNegotiationTimeout", "no server answers: the client keeps running, and asks on", "TestServerAppears"},
	{"ChromiumOS", "network_DhcpNak", "a NAK makes the client start over at once", "TestDHCPCases/NAK after the offer"},
	{"ChromiumOS", "network_DhcpRenew", "a renewal keeps the lease", "TestShortLeases"},
	{"ChromiumOS", "network_DhcpRenewWithOptionSubset", "a renewal with another domain and without the search list, which stays", "TestDHCPCases/renewed with fewer options"},
	{"ChromiumOS", "network_DhcpMTU", "option 26 sets the MTU", "TestDHCPCases/MTU 1400"},
	{"ChromiumOS", "network_DhcpClasslessStaticRoute", "option 121", "TestDHCPCases/option 121 and no router"},
	{"ChromiumOS", "network_DhcpBrokenDefaultGateway", "a router outside the subnet is used all the same", "TestDHCPCases/a router outside the subnet"},
	{"ChromiumOS", "network_DhcpNonAsciiParameter", "bytes that are no text do not end the client", "TestDHCPCases/names that are not ASCII"},
	{"ChromiumOS", "network_DhcpFQDN", "a malformed option 81", "TestDHCPCases/options that nobody asked for"},
	{"ChromiumOS", "network_DhcpVendorEncapsulatedOptions", "option 43", "TestDHCPCases/options that nobody asked for"},
	{"ChromiumOS", "network_DhcpWpadNegotiation", "option 252. Here nobody asks for it", "TestDHCPCases/options that nobody asked for"},
	{"ChromiumOS", "network_DhcpRequestHostName", "the server's host name", "TestDHCPCases/dots around names"},
	{"systemd", "fuzz-dhcp-client/overload", "option 52", "TestDHCPCases/options in file and sname"},
	{"systemd", "fuzz-dhcp-client/overload-file-roundtrip", "options in file count once", "TestDHCPCases/options in file"},
	{"systemd", "fuzz-dhcp-client/oversized-message", "a message as large as the link carries", "TestDHCPCases/the largest message"},
	{"systemd", "fuzz-dhcp-client/timeout-ed34161922c7", "routes that never end", "TestDHCPCases/routes of impossible lengths"},
	{"systemd", "fuzz-dhcp-client/dnr_v4", "a malformed option 162", "TestDHCPCases/options that nobody asked for"},
	{"systemd", "pull request 11664", "chaddr is padded with other bytes than zero", "TestDHCPCases/bytes after the MAC address"},
	{"n-dhcp4", "pull request 15", "the lease is rebound by another server than that which granted it", "TestDHCPCases/rebound by another server"},
	{"wicked", "pull request 223", "answers whose UDP checksum nobody filled in", "TestDHCPCases/checksums that nobody filled in"},
	{"wicked", "issue 671", "an option without content", "TestDHCPCases/options of no length"},
	{"Zephyr", "issue 89641", "padding between options; DISCOVER and REQUEST have the same transaction", "TestDHCPCases/padding between options"},
	{"udhcpc", "CVE-2011-2716", "names with a shell's characters", "TestDHCPCases/names with a shell's characters"},
	{"udhcpc", "CVE-2016-2147", "a malformed search list", "TestDHCPCases/a search list that refers to itself"},
	{"udhcpc", "CVE-2016-2148", "a malformed option 212", "TestDHCPCases/options that nobody asked for"},
	{"udhcpc", "CVE-2018-20679", "options that are shorter than their type", "TestDHCPCases/options of wrong lengths"},
}

// wildCase is what servers and networks do against the RFCs, or at their edge.
type wildCase struct{ text, outcome, test string }

var wildCases = []wildCase{
	{"option 15 with several names", "the first is the domain, all are the search list, unless there is an option 119", "TestDHCPCases/a domain of several names"},
	{"dots around names", "cut", "TestDHCPCases/dots around names"},
	{"names that end with NUL (Windows)", "cut", "TestDHCPCases/names that end with NUL"},
	{"option 249 in place of 121 (Windows)", "read as 121", "TestDHCPCases/option 249"},
	{"a router beside a broken option 121", "no default route", "TestDHCPCases/a router beside a broken 121"},
	{"a router outside the subnet", "the route is set all the same", "TestDHCPCases/a router outside the subnet"},
	{"an MTU below 1280", "used; the NIC has no IPv6 until the MTU is larger", "TestDHCPCases/MTU below IPv6's"},
	{"answers by broadcast only", "taken", "TestDHCPCases/broadcasts only"},
	{"UDP checksums that a virtual NIC has not filled in", "taken, also in renewals", "TestDHCPCases/checksums that nobody filled in"},
	{"answers to another client with this MAC address", "ignored", "TestDHCPCases/for another client of this MAC address"},
	{"a lease of 0 s", "refused", "TestDHCPCases/no time at all"},
	{"a lease of 1 s", "used as it is", "TestDHCPCases/one second"},
	{"a lease of 10 s", "used as it is", "TestDHCPCases/ten seconds"},
	{"a lease of 2^32-1 s", "has no end", "TestDHCPCases/without end"},
	{"no lease time", "an hour", "TestDHCPCases/no lease time"},
	{"a server identifier that is not the sender", "renewals go to the identifier", "TestDHCPCases/a server behind the router"},
	{"no server identifier", "the REQUEST names no server, and renewals are broadcast", "TestDHCPCases/no server identifier"},
	{"a relay's giaddr", "ignored", "TestDHCPCases/a relay"},
	{"FORCERENEW without authentication", "ignored", "TestDHCPCases/FORCERENEW"},
	{"a mask with holes", "24 bits", "TestDHCPCases/a mask with holes"},
	{"no mask, or one of no bits", "24 bits", "TestDHCPCases/a mask of no bits"},
	{"a mask of 32 bits (clouds)", "used; the router is on the link", "TestDHCPCases/a mask of all bits, and a route to the router"},
	{"the guest itself as a router", "the next router is used", "TestDHCPCases/a router that is the guest"},
	{"name servers that no host can be", "ignored", "TestDHCPCases/name servers that are no hosts"},
	{"more than 8 name servers, or 64 routes", "the first ones are used", "TestDHCPCases/65 routes"},
	{"no UDP checksum", "taken", "TestDHCPCases/no UDP checksum"},
	{"bytes after the datagram, or after the packet", "ignored", "TestDHCPCases/bytes after the datagram"},
	{"an answer in IP fragments", "ignored: it has to fit into one packet", "TestDHCPCases/a reply in fragments"},
	{"an answer without a message type (BOOTP)", "ignored", "TestDHCPCases/no message type, as BOOTP"},
	{"answers without the client identifier", "taken", "TestDHCPCases/replies without a client identifier"},
	{"the server identifier 0.0.0.0", "renewals are broadcast", "TestDHCPCases/the server identifier 0.0.0.0"},
	{"an ACK that is not as the OFFER was", "the ACK counts", "TestDHCPCases/ACK of other times"},
	{"a NAK or an ACK that nobody asked for", "ignored", "TestDHCPCases/ACK and NAK while bound"},
	{"a NAK after the ACK", "ignored", "TestDHCPCases/ACK and then NAK"},
	{"a renewal with the times alone", "mask, routes, names and name servers stay", "TestDHCPCases/renewed with the times alone"},
	{"a full message, whose further options are in file and sname, without option 255 (ISC dhcpd)", "read", "TestUnfold"},
	{"the same answer twice, or many offers", "the first usable one is taken", "TestDHCPCases/twenty offers"},
}

// TestDHCPPage checks that the tests of both tables exist, and that docs/dhcp.md has the tables. UPDATE=1 writes them.
func TestDHCPPage(t *testing.T) {
	tests := testSource(t)
	var foreign, wild strings.Builder
	foreign.WriteString("| suite | case | what it is about | test here |\n|---|---|---|---|\n")
	for _, c := range foreignCases {
		tests.has(t, c.test)
		fmt.Fprintf(&foreign, "| %s | %s | %s | `%s` |\n", c.suite, c.name, c.text, c.test)
	}
	comparePart(t, "foreign", foreign.String())
	wild.WriteString("| what a server or network does | what arcinit does | test |\n|---|---|---|\n")
	for _, c := range wildCases {
		tests.has(t, c.test)
		fmt.Fprintf(&wild, "| %s | %s | `%s` |\n", c.text, c.outcome, c.test)
	}
	comparePart(t, "wild", wild.String())
}
