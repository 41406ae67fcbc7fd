package kmod

import (
	"slices"
	"strings"
	"testing"
)

func TestAliases(t *testing.T) {
	var x index
	if err := x.readAliases(strings.NewReader("# comment\nalias virtio:d00000001v* virtio_net\n" +
		"alias net-pf-16-proto-12 nfnetlink\nalias fs-erofs erofs\nalias pci:v* a-b\n")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"virtio:d00000001v00001AF4": "virtio_net",
		"net-pf-16-proto-12":        "nfnetlink",
		"erofs":                     "erofs", // a module's own name
		"crc32c-intel":              "crc32c_intel",
		"pci:v1":                    "a_b",
		"virtio:d00000099v00001AF4": "",
	} {
		if got := strings.Join(x.resolve(name), " "); got != want {
			t.Errorf("resolve(%s) = %q, want %q", name, got, want)
		}
	}
}

func TestFiles(t *testing.T) {
	var x index
	if err := x.readFiles(strings.NewReader("kernel/net/failover.ko:\n" +
		"kernel/drivers/virtio-net.ko.xz: kernel/net/net_failover.ko.xz kernel/net/failover.ko\nnonsense\n")); err != nil {
		t.Fatal(err)
	}
	want := []string{"kernel/drivers/virtio-net.ko.xz", "kernel/net/net_failover.ko.xz", "kernel/net/failover.ko"}
	if got := x.files["virtio_net"]; !slices.Equal(got, want) {
		t.Errorf("virtio_net is in %q, want %q", got, want)
	}
	if _, ok := x.files["failover"]; !ok || len(x.files) != 2 {
		t.Errorf("files = %q", x.files)
	}
}
