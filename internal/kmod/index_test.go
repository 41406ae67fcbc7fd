package kmod

import (
	"slices"
	"strings"
	"testing"
)

func TestAliases(t *testing.T) {
	var l Loader
	for _, line := range []string{"# comment", "alias virtio:d00000001v* virtio_net", "alias net-pf-16-proto-12 nfnetlink",
		"alias fs-erofs erofs", "alias pci:v* a-b"} {
		l.addAlias(line)
	}
	for name, want := range map[string]string{
		"virtio:d00000001v00001AF4": "virtio_net",
		"net-pf-16-proto-12":        "nfnetlink",
		"erofs":                     "erofs", // a module's own name
		"crc32c-intel":              "crc32c_intel",
		"pci:v1":                    "a_b",
		"virtio:d00000099v00001AF4": "",
	} {
		if got := strings.Join(l.resolve(name), " "); got != want {
			t.Errorf("resolve(%s) = %q, want %q", name, got, want)
		}
	}
}

// FuzzIndex reads any index, and looks for any name in it.
func FuzzIndex(f *testing.F) {
	f.Add("kernel/virtio-net.ko.xz: kernel/failover.ko\nnonsense", "# comment\nalias virtio:d00000001v* virtio-net", "virtio:d00000001v00001AF4")
	f.Add(": a", "alias [ b\nalias \\ c", "[")
	f.Fuzz(func(t *testing.T, dep, aliases, name string) {
		l := Loader{files: map[string][]string{}}
		for line := range strings.Lines(dep) {
			l.addFiles(line)
		}
		for line := range strings.Lines(aliases) {
			l.addAlias(line)
		}
		for module, files := range l.files {
			if strings.ContainsAny(module, "-\n") || len(files) == 0 {
				t.Errorf("module %q is in %q", module, files)
			}
		}
		for _, module := range l.resolve(name) {
			if strings.Contains(module, "-") {
				t.Errorf("%q is of module %q", name, module)
			}
		}
	})
}

func TestFiles(t *testing.T) {
	l := Loader{files: map[string][]string{}}
	for _, line := range []string{"kernel/net/failover.ko:",
		"kernel/drivers/virtio-net.ko.xz: kernel/net/net_failover.ko.xz kernel/net/failover.ko", "nonsense"} {
		l.addFiles(line)
	}
	want := []string{"kernel/drivers/virtio-net.ko.xz", "kernel/net/net_failover.ko.xz", "kernel/net/failover.ko"}
	if got := l.files["virtio_net"]; !slices.Equal(got, want) {
		t.Errorf("virtio_net is in %q, want %q", got, want)
	}
	if _, ok := l.files["failover"]; !ok || len(l.files) != 2 {
		t.Errorf("files = %q", l.files)
	}
}

func TestSoftDependencies(t *testing.T) {
	l := Loader{before: map[string][]string{}, after: map[string][]string{}}
	for _, line := range []string{"# comment", "softdep btrfs pre: sha256 crypto-crc32c", "softdep btrfs post: a-b", "softdep x-y pre: a post: b", "softdep none"} {
		l.addSoft(line)
	}
	for got, want := range map[string]string{
		strings.Join(l.before["btrfs"], " "): "sha256 crypto-crc32c", strings.Join(l.after["btrfs"], " "): "a-b",
		strings.Join(l.before["x_y"], ""): "a", strings.Join(l.after["x_y"], ""): "b",
	} {
		if got != want {
			t.Errorf("soft dependencies are %q, want %q", got, want)
		}
	}
}
