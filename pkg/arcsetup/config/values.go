package config

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
)

// FallbackHostname is the name of a guest that got none from the kernel or the host.
const FallbackHostname = "arcbox"

const (
	letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits  = "0123456789"
)

// CheckHostname reports why name cannot be a host name (RFC 1123 section 2.1; Linux takes 64 bytes in all).
func CheckHostname(name string) error {
	isWrong := func(label string) bool {
		return label == "" || len(label) > 63 || strings.Trim(label, letters+digits+"-") != "" || strings.Trim(label, "-") != label
	}
	if len(name) > 64 || slices.ContainsFunc(strings.Split(name, "."), isWrong) {
		return fmt.Errorf("host name %q is not labels of 1 to 63 letters, digits and inner hyphens, with dots between, in at most 64 bytes", name)
	}
	return nil
}

// checkPath reports why p cannot be the path of a file in the guest.
func checkPath(p string) error {
	if !strings.HasPrefix(p, "/") {
		return fmt.Errorf("%q is not an absolute path", p)
	}
	return nil
}

// oneOf returns a check that a value is one of the words.
func oneOf(words ...string) func(string) error {
	return func(v string) error {
		if !slices.Contains(words, v) {
			return fmt.Errorf("%q is not one of %s", v, strings.Join(words, ", "))
		}
		return nil
	}
}

// Text returns a file's text without the byte-order mark that editors of other systems write. With a mark of UTF-16
// the text is in UTF-16, as dockerd reads its own file.
func Text(data []byte) string {
	var order binary.ByteOrder = binary.LittleEndian
	switch {
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		return string(data[3:])
	case bytes.HasPrefix(data, []byte("\xfe\xff")):
		order = binary.BigEndian
	case !bytes.HasPrefix(data, []byte("\xff\xfe")):
		return string(data)
	}
	var units []uint16
	for data = data[2:]; len(data) > 1; data = data[2:] {
		units = append(units, order.Uint16(data))
	}
	return string(utf16.Decode(units))
}

func parseLevel(s string) (level slog.Level, err error) {
	if level.UnmarshalText([]byte(s)) != nil {
		err = fmt.Errorf("log level %q is not debug, info, warn or error", s)
	}
	return level, err
}

func parseDuration(v string) (time.Duration, error) {
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a duration such as \"25s\"", v)
	}
	return d, nil
}

// parseLimit reads a duration of at least a second: a shutdown needs some time to write to the disks, and an RTC counts seconds.
func parseLimit(v string) (time.Duration, error) {
	d, err := parseDuration(v)
	if err == nil && d < time.Second {
		err = fmt.Errorf("%q is less than a second", v)
	}
	return d, err
}

func parseNameservers(values []string) (addrs []netip.Addr, err error) {
	for _, v := range values {
		addr, err := netip.ParseAddr(v)
		if err != nil {
			return nil, fmt.Errorf("%q is not an IP address", v)
		}
		addrs = append(addrs, addr)
	}
	if addrs == nil {
		return nil, errors.New("the list is empty")
	}
	return addrs, nil
}

// checkNIC reports why v is neither a link name (dev_valid_name in net/core/dev.c, at most 15 bytes) nor a MAC address.
func checkNIC(v string) error {
	if _, err := net.ParseMAC(v); err == nil {
		return nil
	}
	if v == "" || len(v) > 15 || v == "." || v == ".." || strings.ContainsAny(v, "/: \t\n\v\f\r\x00") {
		return fmt.Errorf("NIC %q is neither a link name nor a MAC address", v)
	}
	return nil
}

// parseAddress reads the IPv4 address of a host with its prefix length.
func parseAddress(v string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(v)
	if err != nil || !p.Addr().Is4() || p.Bits() == 0 || p.Addr().IsUnspecified() || p.Addr().IsLoopback() || p.Addr().IsMulticast() {
		return netip.Prefix{}, fmt.Errorf("address %q is not a host's IPv4 address such as \"192.0.2.5/24\"", v)
	}
	return p, nil
}

// checkContainerNetwork reports why v is not a network that has room for several networks of containers.
func checkContainerNetwork(v string) error {
	p, err := netip.ParsePrefix(v)
	if err != nil || !p.Addr().Is4() || p.Bits() < 8 || p.Bits() > 24 {
		return fmt.Errorf("%q is not an IPv4 network such as \"172.16.0.0/12\", of /8 to /24", v)
	}
	return nil
}

// checkClockSource reports why v is not a clock to follow.
func checkClockSource(v string) error {
	if strings.HasPrefix(v, "/dev/ptp") {
		return nil
	}
	return oneOf("auto", "rtc", "ptp", "none")(v)
}

// parsePercent reads a percentage such as "50%".
func parsePercent(v string) (uint64, error) {
	n, err := strconv.ParseUint(strings.TrimSuffix(v, "%"), 10, 10)
	if err != nil || !strings.HasSuffix(v, "%") {
		return 0, fmt.Errorf("%q is not a percentage such as \"50%%\"", v)
	}
	return n, nil
}
