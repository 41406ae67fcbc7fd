package arcsetup

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/arcinit/arcinit/pkg/arcsetup/config"
	"golang.org/x/sys/unix"
)

// resolvConf names the agent's own DNS server, which forwards to the servers of the leases: no lease changes this file.
func (g *Guest) resolvConf() (bool, error) {
	var text strings.Builder
	for _, addr := range g.Config().Nameservers {
		fmt.Fprintf(&text, "nameserver %s\n", addr)
	}
	return g.writeFile("/etc/resolv.conf", text.String(), 0o644)
}

// hostname sets the configured name, or the fallback if the kernel has no name.
func (g *Guest) hostname() (changed bool, err error) {
	now, err := os.Hostname()
	if err != nil {
		return false, fmt.Errorf("read the host name: %w", err)
	}
	name := cmp.Or(g.Config().Hostname, now)
	// "(none)", the kernel's name at boot (include/linux/uts.h), is not valid.
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

func (g *Guest) hosts() (bool, error) {
	name, err := os.Hostname()
	if err != nil || config.CheckHostname(name) != nil {
		name = config.FallbackHostname
	}
	old, errOld := g.readFile("/etc/hosts")
	changed, errWrite := g.writeFile("/etc/hosts", hostsFile(old, name), 0o644)
	return changed, errors.Join(errOld, errWrite)
}

// hostsFile returns old with the guest's own lines first. It drops other lines for
// 127.0.1.1, and those that only say localhost.
func hostsFile(old, name string) string {
	own := []string{"127.0.0.1\tlocalhost", "::1\tlocalhost", "127.0.1.1\t" + name}
	lines := own
	for line := range strings.Lines(old) {
		entry := strings.Join(strings.Fields(line), "\t")
		if !slices.Contains(own, entry) && !strings.HasPrefix(entry+"\t", "127.0.1.1\t") {
			lines = append(lines, strings.TrimRight(line, "\n"))
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// accounts adds the accounts that container engines look up to those of the image.
func (g *Guest) accounts() (bool, error) {
	var r result
	for path, entries := range map[string][]string{
		"/etc/passwd": {"root:x:0:0:root:/root:/bin/sh", "nobody:x:65534:65534:nobody:/:/sbin/nologin"},
		"/etc/group":  {"root:x:0:", "tty:x:5:", "nobody:x:65534:"},
	} {
		old, err := g.readFile(path)
		if err != nil {
			r.add(false, err)
			continue
		}
		r.add(g.writeFile(path, withEntries(old, entries), 0o644))
	}
	return r.changed, r.err
}

// withEntries returns the passwd or group file old with these entries. It keeps an
// entry of the same name and id, and replaces an entry of that name with another id.
func withEntries(old string, entries []string) string {
	lines := strings.FieldsFunc(old, func(r rune) bool { return r == '\n' })
	for _, entry := range entries {
		name, id := account(entry)
		i := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, name+":") })
		if i < 0 {
			lines = append(lines, entry)
		} else if _, oldID := account(lines[i]); oldID != id {
			lines[i] = entry
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// account returns the name and the id in a line of passwd(5) or group(5).
func account(line string) (name, id string) {
	fields := strings.SplitN(line+":::", ":", 4) // at least four fields
	return fields[0], fields[2]
}
