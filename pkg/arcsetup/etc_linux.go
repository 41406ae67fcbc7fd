package arcsetup

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/arcinit/arcinit/pkg/arcsetup/config"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"golang.org/x/sys/unix"
)

// resolvConf names the agent's own name server. What a DHCP server says of name
// servers is for that one to use; it never comes here.
func (g *Guest) resolvConf() (bool, error) {
	var text strings.Builder
	for _, addr := range g.Config.Nameservers {
		fmt.Fprintf(&text, "nameserver %s\n", addr)
	}
	return g.writeFile("/etc/resolv.conf", text.String())
}

// hostname gives the guest the configured name, or the fallback where the kernel
// has none.
func (g *Guest) hostname() (changed bool, err error) {
	now, err := os.Hostname()
	if err != nil {
		return false, fmt.Errorf("read the host name: %w", err)
	}
	name := cmp.Or(g.Config.Hostname, now)
	// The kernel's name for no name (include/linux/uts.h) is no valid one.
	if config.CheckHostname(name) != nil {
		name = config.FallbackHostname
	}
	if name == now {
		return false, nil
	}
	if err := unix.Sethostname([]byte(name)); err != nil {
		return false, fmt.Errorf("set the host name %q: %w", name, err)
	}
	return true, nil
}

// hosts writes /etc/hosts.
func (g *Guest) hosts() (bool, error) {
	name, err := os.Hostname()
	if err != nil || config.CheckHostname(name) != nil {
		name = config.FallbackHostname
	}
	old, errOld := g.readFile("/etc/hosts")
	changed, errWrite := g.writeFile("/etc/hosts", hostsFile(old, name))
	return changed, errors.Join(errOld, errWrite)
}

// hostsFile is old with the guest's own lines first, and without other lines for
// the addresses that those are about.
func hostsFile(old, name string) string {
	own := []string{"127.0.0.1\tlocalhost", "::1\tlocalhost", "127.0.1.1\t" + name}
	lines := own
	for line := range strings.Lines(old) {
		line = strings.TrimRight(line, "\n")
		fields := strings.Fields(line)
		if len(fields) > 0 && (fields[0] == "127.0.1.1" || isLocalhost(fields)) {
			continue
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n") + "\n"
}

// isLocalhost reports whether a line says no more than that a loopback address
// is localhost.
func isLocalhost(fields []string) bool {
	return (fields[0] == "127.0.0.1" || fields[0] == "::1") && len(fields) == 2 && fields[1] == "localhost"
}

// accounts adds the accounts that container engines look up to those that the
// image has.
func (g *Guest) accounts() (changed bool, err error) {
	for _, f := range []struct {
		path    string
		entries []string
	}{
		{"/etc/passwd", []string{
			"root:x:0:0:root:/root:/bin/sh",
			"nobody:x:65534:65534:nobody:/:/sbin/nologin",
		}},
		{"/etc/group", []string{"root:x:0:", "tty:x:5:", "nobody:x:65534:"}},
	} {
		old, e := g.readFile(f.path)
		if e == nil {
			var c bool
			c, e = g.writeFile(f.path, withEntries(old, f.entries))
			changed = changed || c
		}
		err = errors.Join(err, e)
	}
	return changed, err
}

// withEntries returns the passwd or group file old with each of the entries in
// it. An entry that is there with the same name and id is left as it is; one of
// that name with another id is replaced.
func withEntries(old string, entries []string) string {
	var lines []string
	for line := range strings.Lines(old) {
		lines = append(lines, strings.TrimRight(line, "\n"))
	}
	for _, entry := range entries {
		name, id := account(entry)
		found := false
		for i, line := range lines {
			n, oldID := account(line)
			if n != name {
				continue
			}
			found = true
			if oldID != id {
				lines[i] = entry
			}
		}
		if !found {
			lines = append(lines, entry)
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// account returns the name and the id in a line of passwd(5) or group(5).
func account(line string) (name, id string) {
	fields := strings.SplitN(line, ":", 4)
	if len(fields) < 3 {
		return fields[0], ""
	}
	return fields[0], fields[2]
}

// certificates points TLS programs at the image's certificates, where it has
// them apart from /etc.
func (g *Guest) certificates() (bool, error) {
	const bundle = "/cacerts/ca-certificates.crt"
	if _, err := os.Stat(g.path(bundle)); err != nil {
		return false, plan.Absent(err)
	}
	return g.symlink(bundle, "/etc/ssl/certs/ca-certificates.crt")
}
