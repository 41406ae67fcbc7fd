//go:build vmtest

package vmtests

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/vmtests/guest"
	"github.com/arcinit/arcinit/vmtests/probe"
)

// TestServiceSettings gives services an environment, users, directories and start limits.
func TestServiceSettings(t *testing.T) {
	t.Parallel()
	host := &hostPort{}
	m := boot(t, image{
		disks: []guest.Disk{{File: erofsDisk(t, swapinTree(t, map[string]string{
			"/etc/passwd": "root:x:0:0:root:/root:/bin/sh\nweb:x:1001:1002:Web:/srv:/bin/sh\n", "/etc/group": "root:x:0:\nweb:x:1002:\nextra:x:1003:web\nother:x:1004:\n",
		}))}},
		ports:   []guest.Port{host.port("host")},
		cmdline: []string{"root=/dev/vda", "arcbox.notify=virtio-port:host"},
		shared: map[string]string{
			"etc/proxy.env": "\ufeff# the proxy\nexport HTTP_PROXY=\"http://file:1\"\r\nhttps_proxy=http://file:2\nnonsense\n=empty\n",
			"etc/arcinit.toml": `
[agent]
env = { HTTP_PROXY = "http://own:3" }
env_file = "/arcbox/etc/proxy.env"
[[service]]
name = "plain"
argv = ["/bin/sh", "-c", "env; id; pwd; sleep 1000"]
env_file = "/arcbox/etc/gone.env"
env = { PATH = "/own", TERM = "own" }
[[service]]
name = "web"
argv = ["/bin/sh", "-c", "/bin/env; /bin/id; pwd; /bin/sleep 1000"]
user = "web"
working_directory = "/usr"
[[service]]
name = "numbers"
argv = ["/bin/sh", "-c", "/bin/id; /bin/sleep 1000"]
user = "1001"
group = "other"
[[service]]
name = "nobody-knows"
argv = ["/bin/sleep", "1000"]
user = "stranger"
[[service]]
name = "often"
argv = ["/bin/false"]
start_limit = { burst = 3, interval = "1m" }
[[service]]
name = "missing"
argv = ["/bin/missing"]
start_limit = { burst = 2 }
`}})
	comesUp(t, m, "services")
	outcome(t, m, "services", "failed", "stranger", "/bin/missing")
	environ := must[probe.AtStart](t, m, "AtStart", none{}).Environ
	for _, want := range []string{"HTTP_PROXY=http://own:3", "https_proxy=http://file:2", "HOME=/root"} {
		if !slices.Contains(environ, want) {
			t.Errorf("the agent's environment lacks %s: %q", want, environ)
		}
	}
	said := func(service string, parts ...string) {
		t.Helper()
		eventually(t, func() string {
			if log := m.get("log/services.log"); !hasLine(log, append(parts, service+": ")...) {
				return fmt.Sprintf("%s has not said %q:\n%s", service, parts, log)
			}
			return ""
		})
	}
	said("plain", "TERM=own")
	said("plain", "PATH=/own")
	said("plain", "uid=0(root) gid=0(root)")
	said("plain", " /")
	said("web", "uid=1001(web) gid=1002(web) groups=", "1003(extra)")
	said("web", "/usr")
	for _, want := range []string{"HOME=/srv", "USER=web", "LOGNAME=web"} {
		said("web", want)
	}
	said("numbers", "uid=1001(web) gid=1004(other) groups=", "1003(extra)")
	eventually(t, func() string {
		often, missing, heard := serviceStatus(t, m, "often"), serviceStatus(t, m, "missing"), host.heard()
		if !often.Failed || often.Starts != 3 || often.PID != 0 || !missing.Failed || missing.Starts != 0 {
			return fmt.Sprintf("services with a start limit are %+v and %+v", often, missing)
		}
		if !slices.Contains(heard, "ERRNO=5") || !slices.ContainsFunc(heard, func(a string) bool { return strings.HasPrefix(a, "STATUS=") && strings.Contains(a, "often") }) {
			return fmt.Sprintf("the host heard %q", heard)
		}
		return ""
	})
	if r := m.run(t, arcsetup.ProgramPath, "report"); !hasLine(r.Stdout, "often ", " failed ") {
		t.Errorf("uinit report does not say that a service has failed:\n%s", r.Stdout)
	}
	if got := serviceStatus(t, m, "web"); got.Failed || got.PID == 0 {
		t.Errorf("web is %+v", got)
	}
	t.Run("poweroff", func(t *testing.T) { testPowerOff(t, m) })
}

// certificate makes a certificate that signs itself, in PEM form.
func certificate(t *testing.T, name string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// TestCertificates adds the host's certificates to those of the image, on each of the three ways in which an image has them.
func TestCertificates(t *testing.T) {
	t.Parallel()
	image1, image2, host1, host2 := certificate(t, "image 1"), certificate(t, "image 2"), certificate(t, "host 1"), certificate(t, "host 2")
	own := image1 + "# a comment\n" + strings.TrimSuffix(image2, "\n")
	for name, files := range map[string]map[string]string{
		"outside of etc": {"/cacerts/ca-certificates.crt": own}, "in etc": {"/etc/ssl/certs/ca-certificates.crt": own}, "none": {},
	} {
		t.Run(name, func(t *testing.T) {
			m := boot(t, image{files: files, nics: bothNICs(), cmdline: []string{quiet}, tools: true, shared: map[string]string{
				"etc/arcinit.toml": "[ca]\ncertificates = \"/arcbox/etc/ca\"\n",
				"etc/ca/a.pem":     "text before\r\n" + strings.ReplaceAll(host1, "\n", "\r\n") + image1,
				"etc/ca/b.crt":     host1 + host2,
				"etc/ca/key.pem":   "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEG\n-----END PRIVATE KEY-----\n",
				"etc/ca/bad.pem":   "-----BEGIN CERTIFICATE-----\nMIGHAgEAMBMGByqGSM49AgEG\n-----END CERTIFICATE-----\n",
				"etc/ca/README":    "no certificates here\n",
				"etc/ca/dir/c.pem": host2,
			}})
			comesUp(t, m)
			outcome(t, m, "ca", "ok", "key.pem", "bad.pem", "README", "dir")
			text := m.read(t, "/etc/ssl/certs/ca-certificates.crt")
			pool, count := map[string]int{}, 0
			for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
				c, err := x509.ParseCertificate(block.Bytes)
				if err != nil {
					t.Fatalf("%v in\n%s", err, text)
				}
				pool[c.Subject.CommonName]++
				count++
			}
			want := map[string]int{"host 1": 1, "host 2": 1}
			if len(files) > 0 {
				want["image 1"], want["image 2"] = 1, 1
			} else {
				want["image 1"] = 1 // the host has it, too
			}
			if fmt.Sprint(pool) != fmt.Sprint(want) || bytes.Contains([]byte(text), []byte("PRIVATE")) {
				t.Errorf("the bundle has %v, want %v:\n%s", pool, want, text)
			}
			t.Run("again", func(t *testing.T) { testAgain(t, m) })
		})
	}
}

// TestHostNames finds the host by the names that Docker gives it, also after the lease has changed.
func TestHostNames(t *testing.T) {
	t.Parallel()
	m := boot(t, image{nics: bothNICs(), cmdline: []string{quiet}, tools: true, files: map[string]string{
		"/etc/hosts": "192.0.2.1 host.docker.internal\n192.0.2.7 other.example # gateway\n",
	}})
	comesUp(t, m)
	names := func() string {
		got := hostsTable(m.read(t, "/etc/hosts"))
		if !slices.Equal(got["10.0.2.1"], []string{"host.docker.internal", "gateway.docker.internal"}) || got["192.0.2.1"] != nil || got["192.0.2.7"] == nil ||
			!slices.Equal(got["127.0.0.1"], []string{"localhost"}) {
			return fmt.Sprintf("/etc/hosts has %v", got)
		}
		return ""
	}
	eventually(t, names)
	t.Run("again", func(t *testing.T) { testAgain(t, m) })
	// A new network daemon does the same.
	must[none](t, m, "WriteFile", writeFile{"/etc/hosts", []byte("127.0.0.1 localhost\n192.0.2.7 other.example\n")})
	must[none](t, m, "Kill", probe.Signal{PID: serviceStatus(t, m, "netd").PID, Number: 9})
	eventually(t, names)
}

// TestRequire needs steps that fail: the guest ends, by the way that the configuration names, and has no agent.
func TestRequire(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		im         image
		end, named string
	}{
		"share": {image{noShare: true, files: map[string]string{"/etc/arcinit.toml": "[boot]\nrequire = [\"layers\", \"share\"]\n"}}, "guest-shutdown", "share"},
		"disks": {image{shared: map[string]string{"etc/arcinit.toml": "[boot]\nrequire = [\"disks\", \"nonesuch\"]\notherwise = \"reboot\"\n[[disk]]\ndevice = \"/dev/vdx\"\npath = \"/data\"\nwait = \"100ms\"\n"}}, "guest-reset", "disks"},
		"zram":  {image{cmdline: []string{"module_blacklist=zram"}, shared: map[string]string{"etc/arcinit.toml": "[boot]\nrequire = [\"zram\"]\n[memory]\nzram = \"10%\"\n"}}, "guest-shutdown", "zram"},
	} {
		t.Run(name, func(t *testing.T) {
			m := boot(t, test.im)
			m.waitEnd(t, test.end)
			if !hasLine(m.ConsoleText(), "arcinit: ", "required step failed: "+test.named) {
				t.Error("the console does not say which steps failed")
			}
			if agent := "service=agent pid="; strings.Contains(m.ConsoleText(), agent) != (name == "zram") {
				t.Errorf("the agent was started: %v", name != "zram")
			}
		})
	}
}

// TestZram swaps into compressed memory.
func TestZram(t *testing.T) {
	t.Parallel()
	eachKernel(t, func(t *testing.T, k kernel) {
		m := boot(t, k.on(t, image{nics: bothNICs(), tools: true, cmdline: []string{quiet}, shared: map[string]string{"etc/arcinit.toml": "[memory]\nzram = \"50%\"\n"}}))
		comesUp(t, m)
		m.waitReport(t)
		f := strings.Fields(m.read(t, "/proc/swaps"))
		if len(f) != 10 || !strings.HasPrefix(f[5], "/dev/zram") || f[6] != "partition" || f[9] != "100" {
			t.Fatalf("/proc/swaps has %q", f)
		}
		var total, size int
		if _, err := fmt.Sscanf(m.read(t, "/proc/meminfo"), "MemTotal: %d kB", &total); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscan(f[7], &size); err != nil || size < total*49/100 || size > total*51/100 {
			t.Errorf("swap of %s KiB, of %d in all, %v", f[7], total, err)
		}
		t.Run("again", func(t *testing.T) { testAgain(t, m) })
		t.Run("poweroff", func(t *testing.T) { testPowerOff(t, m) })
	})
}

// TestPanicTrace has a guest panic on a machine with pvpanic: the VMM hears of the panic.
func TestPanicTrace(t *testing.T) {
	t.Parallel()
	eachKernel(t, func(t *testing.T, k kernel) {
		m := boot(t, k.on(t, image{cmdline: []string{"panic=0"}, qemu: []string{"-device", "pvpanic-pci", "-action", "panic=shutdown"}}))
		comesUp(t, m)
		eventually(t, func() string {
			if len(must[[]string](t, m, "Glob", "/sys/bus/pci/drivers/pvpanic-pci/*/events")) == 0 {
				return "no pvpanic device has its driver"
			}
			return ""
		})
		must[none](t, m, "WriteFile", writeFile{"/proc/sys/kernel/sysrq", []byte("1\n")})
		m.tell("WriteFile", writeFile{"/proc/sysrq-trigger", []byte("c")})
		select {
		case <-m.Ended():
		case <-time.After(time.Minute):
			t.Fatal("the guest has not ended")
		}
		if got := m.ShutdownReason(); got != "guest-panic" {
			t.Errorf("QEMU says %q, want a panic", got)
		}
	})
}
