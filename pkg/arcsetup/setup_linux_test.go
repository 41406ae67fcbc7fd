package arcsetup

import (
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup/config"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// newGuest is a guest whose files are in a directory.
func newGuest(t *testing.T, files map[string]string) *Guest {
	t.Helper()
	g := &Guest{Root: t.TempDir()}
	for path, text := range files {
		put(t, g, path, text)
	}
	return g
}

// put writes a file of the guest.
func put(t *testing.T, g *Guest, path, text string) {
	t.Helper()
	path = g.path(path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// configure changes the guest's configuration.
func configure(g *Guest, change func(*config.Config)) {
	c := g.Config()
	change(&c)
	g.setConfig(c)
}

func read(t *testing.T, g *Guest, path string) string {
	t.Helper()
	text, err := os.ReadFile(g.path(path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// twice runs a step two times: what it did the first time it must find done the
// second.
func twice(t *testing.T, step plan.Func) {
	t.Helper()
	if changed, err := step(); err != nil || !changed {
		t.Errorf("first run: changed %v, error %v", changed, err)
	}
	if changed, err := step(); err != nil || changed {
		t.Errorf("second run: changed %v, error %v", changed, err)
	}
}

// outcome is what the report has of a step.
func outcome(step plan.Func) plan.Result {
	r := plan.Runner{Uptime: func() time.Duration { return 0 }, Log: slog.New(slog.DiscardHandler)}
	r.Run([]plan.Step{{Name: "step", Run: step}})
	return r.Results()[0]
}

func TestPlanIsOne(t *testing.T) {
	steps, later := Plan(newGuest(t, nil))
	steps = append(steps, later...)
	if err := plan.Check(steps); err != nil {
		t.Error(err)
	}
	for _, s := range steps {
		if s.Doc == "" {
			t.Errorf("step %s says nothing of itself", s.Name)
		}
		if err := plan.Check(plan.Without(steps, s.Name)); err != nil {
			t.Errorf("without %s: %v", s.Name, err)
		}
	}
}

func TestResolvConfReplacesLink(t *testing.T) {
	g := newGuest(t, map[string]string{"/run/stub": "nameserver 9.9.9.9\n", "/etc/x": ""})
	if err := os.Symlink("../run/stub", g.path("/etc/resolv.conf")); err != nil {
		t.Fatal(err)
	}
	twice(t, g.resolvConf)
	if got := read(t, g, "/etc/resolv.conf"); got != "nameserver 127.0.0.1\n" {
		t.Errorf("resolv.conf is %q", got)
	}
	if got := read(t, g, "/run/stub"); got != "nameserver 9.9.9.9\n" {
		t.Errorf("the link was followed: %q", got)
	}
}

func TestHostsFile(t *testing.T) {
	for _, tt := range []struct{ name, old, want string }{
		{"none", "", "127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.1.1\tguest\n"},
		{
			"an image's", "127.0.0.1 localhost\n# mine\n10.0.0.1 registry\n127.0.1.1 old\n127.0.0.1 alias\n",
			"127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.1.1\tguest\n# mine\n10.0.0.1 registry\n127.0.0.1 alias\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := hostsFile(tt.old, "guest")
			if got != tt.want {
				t.Errorf("hostsFile = %q, want %q", got, tt.want)
			}
			if again := hostsFile(got, "guest"); again != got {
				t.Errorf("again: %q", again)
			}
		})
	}
}

func TestAccounts(t *testing.T) {
	g := newGuest(t, map[string]string{
		"/etc/passwd": "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/:/bin/sh\nnobody:x:99:99::/:/bin/false\n",
		"/etc/group":  "root:x:0:\ntty:x:5:alice\n",
	})
	twice(t, g.accounts)
	want := "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/:/bin/sh\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n"
	if got := read(t, g, "/etc/passwd"); got != want {
		t.Errorf("passwd is %q, want %q", got, want)
	}
	if got, want := read(t, g, "/etc/group"), "root:x:0:\ntty:x:5:alice\nnobody:x:65534:\n"; got != want {
		t.Errorf("group is %q, want %q", got, want)
	}
}

func TestAccountsOfAnEmptyImage(t *testing.T) {
	g := newGuest(t, nil)
	twice(t, g.accounts)
	if got, want := read(t, g, "/etc/group"), "root:x:0:\ntty:x:5:\nnobody:x:65534:\n"; got != want {
		t.Errorf("group is %q, want %q", got, want)
	}
}

// TestDaemonAsDockerdReadsIt has a mark and UTF-16, keys spelled otherwise, a key twice, and a mode that keeps secrets.
func TestDaemonAsDockerdReadsIt(t *testing.T) {
	text := "{\"features\": {\"cdi\": true}, \"DNS\": [\"1.1.1.1\"], \"default-ulimits\": {\"nofile\": {\"name\": \"nofile\", \"soft\": 7, \"HARD\": 8}},\r\n" +
		"\t\"Features\": {\"containerd-snapshotter\": false}, \"features\": {\"other\": true}}\n"
	utf16 := "\xff\xfe"
	for _, c := range []byte(text) {
		utf16 += string([]byte{c, 0})
	}
	for name, text := range map[string]string{"UTF-8": "\xef\xbb\xbf" + text, "UTF-16": utf16} {
		g := newGuest(t, map[string]string{daemonJSON: text})
		if err := os.Chmod(g.path(daemonJSON), 0o600); err != nil {
			t.Fatal(err)
		}
		if changed, err := g.dockerDaemon(); !changed || err == nil || !strings.Contains(err.Error(), "docker.daemon: dns") {
			t.Errorf("%s: changed %v, %v", name, changed, err)
		}
		want := object{"dns": []any{"10.0.2.1"}, "features": object{"cdi": true, "other": true, "containerd-snapshotter": true},
			"default-ulimits": object{"nofile": object{"Name": "nofile", "Soft": 1048576.0, "Hard": 1048576.0}}}
		if got := daemon(t, g); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: daemon.json is %v, want %v", name, got, want)
		}
		if st, err := os.Stat(g.path(daemonJSON)); err != nil || st.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", name, st.Mode(), err)
		}
	}
}

// daemon decodes daemon.json.
func daemon(t *testing.T, g *Guest) map[string]any {
	t.Helper()
	var d map[string]any
	if err := json.Unmarshal([]byte(read(t, g, daemonJSON)), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDockerDaemonMerges(t *testing.T) {
	g := newGuest(t, map[string]string{daemonJSON: `{"debug": true, "mtu": 1300, "features": {"cdi": true}, "default-ulimits": {"nofile": {"Soft": 1048576}}}`})
	configure(g, func(c *config.Config) {
		c.DockerDaemon = map[string]any{
			"features": map[string]any{"buildkit": false, "containerd-snapshotter": true},
			"mtu":      int64(1400),
		}
	})
	twice(t, g.dockerDaemon)
	d := daemon(t, g)
	features := d["features"].(map[string]any)
	nofile := d["default-ulimits"].(map[string]any)["nofile"].(map[string]any)
	if d["debug"] != true || d["mtu"] != 1400.0 || features["cdi"] != true || features["buildkit"] != false || features["containerd-snapshotter"] != true ||
		d["dns"].([]any)[0] != "10.0.2.1" || nofile["Soft"] != 1048576.0 || nofile["Hard"] != 1048576.0 || nofile["Name"] != "nofile" {
		t.Errorf("daemon.json is %v", d)
	}
}

// TestDockerDaemonHolds has image and operator say what no container could live
// with.
func TestDockerDaemonHolds(t *testing.T) {
	g := newGuest(t, map[string]string{daemonJSON: `{"dns": ["1.1.1.1"]}`})
	configure(g, func(c *config.Config) {
		c.DockerDaemon = map[string]any{
			"features":        map[string]any{"containerd-snapshotter": false, "cdi": true},
			"default-ulimits": "none",
		}
	})
	_, err := g.dockerDaemon()
	for _, want := range []string{"dns = [1.1.1.1]", "features.containerd-snapshotter = false", "default-ulimits = none"} {
		if err == nil || !strings.Contains(err.Error(), "docker.daemon: "+want) {
			t.Errorf("the error is %v, want it to name %s", err, want)
		}
	}
	d := daemon(t, g)
	features := d["features"].(map[string]any)
	if d["dns"].([]any)[0] != "10.0.2.1" || features["containerd-snapshotter"] != true || features["cdi"] != true ||
		d["default-ulimits"].(map[string]any)["nofile"] == nil {
		t.Errorf("daemon.json is %v", d)
	}
	if g.Config().DockerDaemon["features"].(map[string]any)["containerd-snapshotter"] != false {
		t.Error("the configuration was changed")
	}
}

func TestDockerDaemonRefusesBrokenJSON(t *testing.T) {
	const broken = "{\n  \"debug\": true,\n  oops\n}\n"
	g := newGuest(t, map[string]string{daemonJSON: broken})
	_, err := g.dockerDaemon()
	if err == nil || !strings.Contains(err.Error(), daemonJSON+": line 3") {
		t.Errorf("error = %v, want file and line", err)
	}
	if d := daemon(t, g); d["dns"].([]any)[0] != "10.0.2.1" || d["debug"] != nil {
		t.Errorf("daemon.json is %v, want the default", d)
	}
	if got := read(t, g, daemonJSON+".refused"); got != broken {
		t.Errorf("the refused file is kept as %q", got)
	}
}

func TestDockerDaemonRefusesWhatJSONCannotSay(t *testing.T) {
	g := newGuest(t, nil)
	cfg := map[string]string{"/arcinit.toml": "[docker.daemon]\nx = nan\n"}
	c, err := config.Load(config.ParseCommandLine("arcbox.config=/arcinit.toml"),
		func(p string) ([]byte, error) { return []byte(cfg[p]), nil })
	if err != nil {
		t.Fatal(err)
	}
	g.setConfig(c)
	if _, err := g.dockerDaemon(); err == nil || !strings.Contains(err.Error(), "docker.daemon") {
		t.Errorf("error = %v", err)
	}
	if d := daemon(t, g); d["dns"].([]any)[0] != "10.0.2.1" {
		t.Errorf("daemon.json is %v, want the default", d)
	}
}

func TestCertificates(t *testing.T) {
	g := newGuest(t, nil)
	if got := outcome(g.certificates); got.Outcome != plan.Unavailable {
		t.Errorf("without certificates: %+v", got)
	}
	g = newGuest(t, map[string]string{"/cacerts/ca-certificates.crt": "PEM"})
	twice(t, g.certificates)
	if target, _ := os.Readlink(g.path("/etc/ssl/certs/ca-certificates.crt")); target != "/cacerts/ca-certificates.crt" {
		t.Errorf("the link is to %q", target)
	}
}

func TestDirectories(t *testing.T) {
	g := newGuest(t, nil)
	// The link is absolute: below it is the test's own /run only for one
	// that is there already.
	if err := os.MkdirAll(g.path("/run/docker"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(g.path("/var/run/docker"), 0o755); err != nil {
		t.Fatal(err)
	}
	twice(t, g.directories)
	for _, dir := range []string{"/var/lib/docker", "/var/run/docker", "/run/containerd"} {
		if st, err := os.Stat(g.path(dir)); err != nil || !st.IsDir() {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func TestRaiseSysctlNeverLowers(t *testing.T) {
	g := newGuest(t, map[string]string{"/proc/sys/a": "10\n", "/proc/sys/b": "30\n"})
	for name, want := range map[string]string{"a": "20", "b": "30"} {
		changed, err := g.raiseSysctl(name, 20)
		if got := strings.TrimSpace(read(t, g, "/proc/sys/"+name)); err != nil || got != want || changed != (name == "a") {
			t.Errorf("raiseSysctl(%s) = %v, %v; it is %s, want %s", name, changed, err, got, want)
		}
	}
	if _, err := g.raiseSysctl("none", 1); err == nil || !strings.Contains(err.Error(), "sysctl none") {
		t.Errorf("missing sysctl: %v", err)
	}
}

func TestCopyTree(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	if err := os.MkdirAll(filepath.Join(from, "d/e"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(from, "d/e/f"), []byte("text"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("d/e/f", filepath.Join(from, "l")); err != nil {
		t.Fatal(err)
	}
	if err := copyTree(from, to); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(to, "l"))
	if err != nil || string(text) != "text" {
		t.Errorf("through the link: %q, %v", text, err)
	}
	for path, mode := range map[string]os.FileMode{"d/e": 0o750, "d/e/f": 0o640} {
		if st, err := os.Stat(filepath.Join(to, path)); err != nil || st.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v, want mode %v", path, st.Mode(), err, mode)
		}
	}
	if err := copyTree(filepath.Join(from, "none"), to); err != nil {
		t.Errorf("nothing to copy: %v", err)
	}
}

func FuzzDockerDaemon(f *testing.F) {
	f.Add(`{"debug": true}`)
	f.Add(`{"features": 5, "default-ulimits": []}`)
	f.Add("[1]")
	f.Add("null")
	f.Fuzz(func(t *testing.T, text string) {
		g := newGuest(t, map[string]string{daemonJSON: text})
		_, _ = g.dockerDaemon()
		daemon(t, g)
	})
}

func FuzzHostsFile(f *testing.F) {
	f.Add("127.0.1.1 x\n::1\n", "name")
	f.Fuzz(func(t *testing.T, old, name string) {
		if config.CheckHostname(name) != nil {
			return
		}
		once := hostsFile(old, name)
		if again := hostsFile(once, name); again != once {
			t.Errorf("hostsFile is not idempotent: %q, then %q", once, again)
		}
	})
}
