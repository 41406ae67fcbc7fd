package notify

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for s, want := range map[string]Address{
		"vsock:2:9999":           {network: "vsock", cid: 2, port: 9999},
		"vsock-stream:2:9999":    {network: "vsock", cid: 2, port: 9999},
		"unix:/run/notify":       {network: "unix", name: "/run/notify"},
		"unix:/run/a:b":          {network: "unix", name: "/run/a:b"},
		"virtio-port:org.host.0": {network: "virtio-port", name: "org.host.0"},
	} {
		got, err := Parse(s)
		if err != nil || got != want {
			t.Errorf("Parse(%q) = %+v, %v, want %+v", s, got, err, want)
		}
		if again, err := Parse(got.String()); err != nil || again != got {
			t.Errorf("Parse(%q) = %+v, %v, want what it came from", got, again, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, s := range []string{
		"", "vsock", "vsock:", "vsock:2", "vsock:2:", "vsock::1", "vsock:2:x", "vsock:-1:1", "vsock:2:1:3",
		"vsock:4294967295:1", "vsock:2:4294967295", "vsock:2:4294967296", "unix:", "unix:run/notify",
		"unix:/" + strings.Repeat("x", 107), "virtio-port:", "tcp:1.2.3.4:5", "/run/notify",
	} {
		if got, err := Parse(s); err == nil || got != (Address{}) || !strings.Contains(err.Error(), `"`+s+`"`) {
			t.Errorf("Parse(%q) = %+v, %v, want an error that names it", s, got, err)
		}
	}
	if got := (Address{}).String(); got != "" {
		t.Errorf("no address is %q", got)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"vsock:2:9999", "vsock-stream:2:1", "unix:/run/notify", "virtio-port:a", "vsock:2:", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := Parse(s)
		if err != nil {
			return
		}
		if a.network == "unix" && (len(a.name) > maxUnixPath || a.name[0] != '/') {
			t.Errorf("Parse(%q) = %+v", s, a)
		}
		if again, err := Parse(a.String()); err != nil || again != a {
			t.Errorf("Parse(%q) = %+v, and %+v, %v again", s, a, again, err)
		}
	})
}
