package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// Mount is what the mounts of the configuration have in common.
type Mount struct {
	Path     string
	Optional bool  // its absence is no failure
	Enabled  *bool // false removes an entry of an earlier file, or a default
	// Wait is how long the device or share may take to appear, WaitText what the file says about that.
	Wait     time.Duration `toml:"-"`
	WaitText string        `toml:"wait"`
}

// Share is a share of the host, by virtiofs.
type Share struct {
	Tag string
	Mount
	ReadOnly bool `toml:"read_only"`
	DAX      bool // only with a DAX window (dax=always)
}

// Tmpfs is a tmpfs, nosuid, and nodev unless Dev is set.
type Tmpfs struct {
	Path    string
	Enabled *bool  // as in Mount
	Mode    uint32 // as for chmod(1), such as 0o755
	Dev     bool   // allows device nodes
	Size    string // as in tmpfs(5): bytes with k, m or g, or a percentage of the memory; empty for the kernel's default
}

// Disk is a block device with a file system. Without a path only its directories or subvolumes are mounted, by mount point.
type Disk struct {
	Device string // as in root=
	Mount
	Type, Options string            // as in fstab(5); without a type it is what the superblock says
	Directories   map[string]string // by mount point
	Grow          bool              // to the size of the device
	Format        string            // the type of file system to make on a blank device
}

// defaultShares are the shares that ArcBox's host has. Only the first has to be there.
func defaultShares() []Share {
	return []Share{
		// By then the kernel has found the share's device, if there is one. The guest goes on without the share.
		{Tag: "arcbox", Mount: Mount{Path: "/arcbox", Wait: 2500 * time.Millisecond}},
		{Tag: "private", Mount: Mount{Path: "/private", Optional: true}},
		{Tag: "users", Mount: Mount{Path: "/Users", Optional: true}},
		{Tag: "rosetta", Mount: Mount{Path: "/media/rosetta", Optional: true}, ReadOnly: true},
		// This share exists to exercise DAX. With any other option, such as cache=, virtiofs refuses the mount.
		{Tag: "arcbox-dax", Mount: Mount{Path: "/run/arcbox-dax", Optional: true}, DAX: true},
	}
}

// defaultTmpfs make a read-only root usable. What the image has on /etc is copied, what it has on the others is hidden.
func defaultTmpfs() []Tmpfs {
	return []Tmpfs{
		{Path: "/tmp", Mode: 0o1777},
		{Path: "/var", Mode: 0o755},
		{Path: "/etc", Mode: 0o755},
		// Firecracker's jailer makes the node of its root disk there.
		{Path: "/var/lib/arcbox/jailer", Mode: 0o700, Dev: true},
		{Path: "/var/jail", Mode: 0o700, Dev: true},
	}
}

// Share returns the share that has this tag, or is mounted on this path.
func (c *Config) Share(key string) (s Share, ok bool) {
	for _, other := range c.Shares {
		if other.Tag == key || other.Path == key {
			s, ok = other, true
		}
	}
	return s, ok
}

// check completes m. There is no mount point where arcinit has its own file systems before it reads any file.
func (m *Mount) check(path string) (err error) {
	if m.Enabled != nil && !*m.Enabled {
		return errRemoved
	}
	if slices.Contains([]string{"/", "/proc", "/sys", "/dev", "/run", "/run/arcbox"}, path) || !fs.ValidPath(strings.TrimPrefix(path, "/")) {
		return fmt.Errorf("path %q cannot be a mount point", path)
	}
	if m.WaitText != "" {
		m.Wait, err = parseDuration(m.WaitText)
	}
	return errors.Join(err, checkPath(path))
}

// checkShare completes a share of this file. One that is mounted before the host's file is read can only be set in the image's.
func (c *Config) checkShare(s *Share, file string) error {
	old, _ := c.Share(s.Tag)
	if early := s.Path == "/arcbox" || old.Path == "/arcbox" || s.Tag == "private"; early && file != ImageFile {
		return fmt.Errorf("this share is mounted before this file is read: set it in %s", ImageFile)
	}
	if s.Tag == "" || len(s.Tag) > 36 || strings.ContainsAny(s.Tag, ",\x00") { // include/uapi/linux/virtio_fs.h
		return fmt.Errorf("tag %q is not 1 to 36 bytes without commas", s.Tag)
	}
	return s.check(s.Path)
}

func (t *Tmpfs) complete() error {
	t.Mode = cmp.Or(t.Mode, 0o755)
	return (&Mount{Enabled: t.Enabled}).check(t.Path)
}

func (d *Disk) complete() error {
	d.Wait = DefaultRootWait
	for path := range d.Directories {
		if err := d.check(path); err != nil {
			return err
		}
	}
	switch {
	case d.Enabled != nil && !*d.Enabled:
		return errRemoved
	case d.Device == "" || d.Path == "" && len(d.Directories) == 0:
		return errors.New("device or path is missing")
	case d.Format != "" && (strings.Trim(d.Format, letters+digits) != "" || !strings.HasPrefix(d.Device, "/dev/")):
		return errors.New("format takes the type of a file system, and a device by its path: a blank disk has no other name")
	case d.Path == "":
		return nil
	}
	return d.check(d.Path)
}

// WriteMounts prints the mounts of the configuration in the columns of a tabwriter.
func (c Config) WriteMounts(w io.Writer) {
	_, _ = fmt.Fprintln(w, "\nMOUNT\tSOURCE\tCONFIGURED")
	for _, t := range c.Tmpfs {
		_, _ = fmt.Fprintf(w, "%s\ttmpfs\tmode=%04o dev=%t size=%s\n", t.Path, t.Mode, t.Dev, cmp.Or(t.Size, "default"))
	}
	for _, s := range c.Shares {
		_, _ = fmt.Fprintf(w, "%s\tshare %s\tread_only=%t dax=%t optional=%t wait=%v\n", s.Path, s.Tag, s.ReadOnly, s.DAX, s.Optional, s.Wait)
	}
	for _, d := range c.Disks {
		_, _ = fmt.Fprintf(w, "%s\tdisk %s\tgrow=%t optional=%t wait=%v %v\n", d.Path, d.Device, d.Grow, d.Optional, d.Wait, d.Directories)
	}
}
