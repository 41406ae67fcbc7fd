package arcsetup

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup/config"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// TestRootSwitchesAlone makes sure that no step can run beside switchroot.
func TestRootSwitchesAlone(t *testing.T) {
	steps := Plan(newGuest(t, nil))
	here := slices.Index(plan.Names(steps), "switchroot")
	if here < 0 {
		t.Fatal("no step switchroot")
	}
	if got, want := steps[here].Needs, plan.Names(steps[:here]); !slices.Equal(got, want) {
		t.Errorf("it needs %v, want all before it, %v", got, want)
	}
	after := map[string]bool{"switchroot": true}
	for _, s := range steps[here+1:] {
		after[s.Name] = slices.ContainsFunc(s.Needs, func(need string) bool { return after[need] })
		if !after[s.Name] {
			t.Errorf("step %s does not wait for it", s.Name)
		}
	}
}

// clock is a time that passes when the shortest wait of a select, which is asked
// for last, begins. Only the one that is due first ends it.
type clock struct {
	t      *testing.T
	now    time.Duration
	timers []timer
}

type timer struct {
	due  time.Duration
	ends chan time.Time
}

func (c *clock) after(d time.Duration) <-chan time.Time {
	t := timer{c.now + d, make(chan time.Time, 1)}
	if d >= rootNotice {
		c.timers = append(c.timers, t)
		return t.ends
	}
	if d > maxRootRetry {
		c.t.Errorf("%v between two tries", d)
	}
	first := t
	for i, other := range c.timers {
		if other.due <= first.due {
			first = other
			c.timers = slices.Delete(c.timers, i, i+1)
			break
		}
	}
	c.now = first.due
	first.ends <- time.Time{}
	return t.ends
}

func TestAwait(t *testing.T) {
	broken := errors.New("broken")
	for _, tt := range []struct {
		name   string
		limit  time.Duration
		comes  time.Duration // when try finds it, or breaks
		err    error
		want   string // in the error
		until  time.Duration
		notice []time.Duration
	}{
		{name: "there", limit: 10 * time.Second},
		{name: "soon", limit: 10 * time.Second, comes: 3 * time.Second, until: 3 * time.Second},
		{name: "another error", limit: 10 * time.Second, comes: time.Second, err: broken, want: "broken", until: time.Second},
		{name: "too late", limit: 12 * time.Second, comes: time.Hour, want: "not there after 12s", until: 12 * time.Second,
			notice: []time.Duration{5 * time.Second, 10 * time.Second}},
		{name: "between notices", limit: 9 * time.Second, comes: time.Hour, want: "not there after 9s", until: 9 * time.Second,
			notice: []time.Duration{5 * time.Second}},
		{name: "for ever", limit: config.WaitForever, comes: 50 * time.Second, until: 50 * time.Second,
			notice: []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &clock{t: t}
			g := newGuest(t, nil)
			g.After = c.after
			var notices []time.Duration
			g.Waiting = func(what string, taken time.Duration, there string) {
				if what != "root=x" || there != "there is no block device" || c.now < taken {
					t.Errorf("Waiting(%q, %v, %q) at %v", what, taken, there, c.now)
				}
				notices = append(notices, taken)
			}
			tries := 0
			err := g.await("root=x", tt.limit, func() error {
				tries++
				if c.now < tt.comes {
					return errNotThere
				}
				return tt.err
			})
			if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want %q in it", err, tt.want)
			}
			if c.now < tt.until || c.now > tt.until+maxRootRetry {
				t.Errorf("it ended after %v, want %v", c.now, tt.until)
			}
			if !slices.Equal(notices, tt.notice) {
				t.Errorf("notices at %v, want %v", notices, tt.notice)
			}
			if most := int(tt.until/maxRootRetry) + 8; tries > most {
				t.Errorf("%d tries in %v", tries, tt.until)
			}
		})
	}
}

// withDisk adds a block device to a guest, a partition where it has a number.
func withDisk(t *testing.T, g *Guest, content []byte, path ...string) {
	t.Helper()
	dir := g.path(filepath.Join(append([]string{"/sys/devices"}, path...)...))
	name := path[len(path)-1]
	files := map[string]string{"size": "2048\n"}
	if len(path) > 1 {
		files["partition"] = name[len(path[0]):] + "\n"
	} else {
		files["queue/logical_block_size"] = "512\n"
	}
	for file, text := range files {
		if err := errors.Join(
			os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755),
			os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644),
		); err != nil {
			t.Fatal(err)
		}
	}
	node := g.path(blockDevice{name: name}.path())
	if err := errors.Join(
		os.MkdirAll(g.path("/sys/class/block"), 0o755),
		os.Symlink(dir, g.path("/sys/class/block/"+name)),
		os.MkdirAll(filepath.Dir(node), 0o755),
		os.WriteFile(node, content, 0o644),
	); err != nil {
		t.Fatal(err)
	}
}

func TestFindBlockDevice(t *testing.T) {
	g := newGuest(t, nil)
	if got := g.describeBlockDevices(); got != "there is no block device" {
		t.Errorf("of none it is said: %s", got)
	}
	mbr, erofs := make([]byte, 512), make([]byte, 4096)
	copy(mbr[440:], "\x78\x56\x34\x12")
	copy(mbr[510:], "\x55\xaa")
	copy(erofs[1024:], "\xe2\xe1\xf5\xe0")
	copy(erofs[1024+48:], "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff")
	copy(erofs[1024+64:], "the root")
	withDisk(t, g, mbr, "vda")
	withDisk(t, g, nil, "vda", "vda1")
	withDisk(t, g, erofs, "vda", "vda2")
	withDisk(t, g, erofs, "cciss!c0d0")
	withDisk(t, g, nil, "sr0")
	if err := os.WriteFile(g.path("/sys/devices/sr0/size"), []byte("0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for root, want := range map[string]string{
		"/dev/vda":       "/dev/vda",
		"LABEL=the root": "/dev/cciss/c0d0", // the first of two
		"UUID=00112233-4455-6677-8899-AABBCCDDEEFF": "/dev/cciss/c0d0",
		"PARTUUID=12345678-02":                      "/dev/vda2",
	} {
		if got, err := g.findBlockDevice(root); err != nil || got != want {
			t.Errorf("findBlockDevice(%s) = %s, %v, want %s", root, got, err, want)
		}
	}
	for _, root := range []string{"/dev/vdz", "LABEL=the", "UUID=0", "PARTUUID=12345678-03", "PARTLABEL=the root"} {
		if got, err := g.findBlockDevice(root); !errors.Is(err, errNotThere) {
			t.Errorf("findBlockDevice(%s) = %s, %v", root, got, err)
		}
	}
	for _, root := range []string{"LABEL=", "PARTLABEL=", "NAME=x", "nfs", "254:0"} {
		if got, err := g.findBlockDevice(root); err == nil || errors.Is(err, errNotThere) || !strings.Contains(err.Error(), "PARTUUID=") {
			t.Errorf("findBlockDevice(%s) = %s, %v, want what root= can be", root, got, err)
		}
	}
	want := "block devices are cciss!c0d0 (1.0 MiB, erofs, LABEL=the root, UUID=00112233-4455-6677-8899-aabbccddeeff), " +
		"vda (1.0 MiB), vda1 (1.0 MiB, PARTUUID=12345678-01), " +
		"vda2 (1.0 MiB, erofs, LABEL=the root, UUID=00112233-4455-6677-8899-aabbccddeeff, PARTUUID=12345678-02)"
	if got := g.describeBlockDevices(); got != want {
		t.Errorf("it is said:\n%s\nwant\n%s", got, want)
	}
}

func TestDeleteBelow(t *testing.T) {
	g := newGuest(t, map[string]string{
		"/init": "", "/bin/uinit": "", "/usr/lib/modules/6/m.ko": "m", "/usr/lib/firmware": "", "/deep/er/file": "",
	})
	outside := filepath.Join(t.TempDir(), "outside")
	if err := errors.Join(
		os.WriteFile(outside, nil, 0o644),
		os.Symlink("usr/lib", g.path("/lib")), os.Symlink(filepath.Dir(outside), g.path("/away")),
	); err != nil {
		t.Fatal(err)
	}
	keep, err := os.Stat(g.path("/lib/modules"))
	if err != nil {
		t.Fatal(err)
	}
	if empty, err := deleteBelow(g.Root, keep); err != nil || empty {
		t.Errorf("deleteBelow = %v, %v", empty, err)
	}
	left, _ := filepath.Glob(g.path("/*"))
	below, _ := filepath.Glob(g.path("/usr/*/*"))
	if want := []string{g.path("/usr"), g.path("/usr/lib/modules")}; !slices.Equal(append(left, below...), want) {
		t.Errorf("left are %v and %v, want %v", left, below, want)
	}
	if got := read(t, g, "/usr/lib/modules/6/m.ko"); got != "m" {
		t.Errorf("the module holds %q", got)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error("the link was followed")
	}
}
