package config

import (
	"io/fs"
	"log/slog"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arcinit/arcinit/internal/binfmt"
)

// files reads from a map as os.ReadFile does from the guest.
type files map[string]string

func (f files) read(path string) ([]byte, error) {
	text, ok := f[path]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return []byte(text), nil
}

// checkErrors checks that err joins one error for each of want, in that order, and
// that each error names all the things that a want lists between bars: the place,
// the value, what was expected, what is used.
func checkErrors(t *testing.T, err error, want []string) {
	t.Helper()
	var lines []string
	if err != nil {
		lines = strings.Split(err.Error(), "\n")
	}
	if len(lines) != len(want) {
		t.Fatalf("%d errors, want %d: %v", len(lines), len(want), err)
	}
	for i, line := range lines {
		for thing := range strings.SplitSeq(want[i], "|") {
			if !strings.Contains(line, thing) {
				t.Errorf("error %d is %q, want %q in it", i+1, line, thing)
			}
		}
	}
}

func TestParseCommandLine(t *testing.T) {
	got := ParseCommandLine(" console=ttyS0  quiet arcbox.agent=\"/a b\" \"arcbox.hostname=x y\"\tarcbox.log=\n")
	want := CommandLine{
		{Key: "console", Value: "ttyS0"},
		{Key: "quiet", Flag: true},
		{Key: "arcbox.agent", Value: "/a b"},
		{Key: "arcbox.hostname", Value: "x y"},
		{Key: "arcbox.log"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("ParseCommandLine = %+v, want %+v", got, want)
	}
	if len(ParseCommandLine("\n")) != 0 {
		t.Error("an empty command line has parameters")
	}
}

func TestLoad(t *testing.T) {
	for _, tt := range []struct {
		name, cmdline string
		files         files
		want          func(*Config)
		errs          []string // for checkErrors
	}{
		{name: "nothing said", want: func(*Config) {}},
		{
			name:    "command line",
			cmdline: "quiet arcbox.hostname=h1 arcbox.agent=/x arcbox.log=debug arcbox.primary=eth1 arcbox.bridge=52:54:00:00:00:01 arcbox.debug_console",
			want: func(c *Config) {
				c.Hostname, c.Agent.Argv, c.Log, c.DebugConsole = "h1", []string{"/x"}, slog.LevelDebug, true
				c.Primary, c.Bridge = "eth1", "52:54:00:00:00:01"
			},
		},
		{
			name:    "command line wins over file",
			cmdline: "arcbox.hostname=line",
			files:   files{DefaultFile: "hostname = \"file\"\nlog = \"warn\"\n[network]\nprimary = \"eth3\"\n[shutdown]\ngrace = \"3s\"\n"},
			want: func(c *Config) {
				c.Hostname, c.Log, c.Primary = "line", slog.LevelWarn, "eth3"
				c.Grace, c.Agent.Grace = 3*time.Second, 3*time.Second
			},
		},
		{
			name:    "file of another place",
			cmdline: "arcbox.config=/cfg.toml",
			files:   files{"/cfg.toml": "[docker.daemon]\ndebug = true\n", DefaultFile: "hostname = \"no\""},
			want:    func(c *Config) { c.file, c.DockerDaemon = "/cfg.toml", map[string]any{"debug": true} },
		},
		{
			name:    "named file missing",
			cmdline: "arcbox.config=/cfg.toml",
			want:    func(c *Config) { c.file = "/cfg.toml" },
			errs:    []string{"/cfg.toml"},
		},
		{
			name:  "not TOML",
			files: files{DefaultFile: "hostname = \"x\"\nlog = \n"},
			want:  func(*Config) {},
			errs:  []string{DefaultFile + ": |line 2"},
		},
		{
			name:  "wrong type",
			files: files{DefaultFile: "log = \"warn\"\nhostname = 5\n"},
			want:  func(*Config) {},
			errs:  []string{DefaultFile + ": |line 2|hostname"},
		},
		{
			name:  "bad values leave the good",
			files: files{DefaultFile: "hostname = \"a_b\"\nlog = \"warn\"\nfoo = 1\n[dns]\nnameservers = [\"x\"]\n"},
			want:  func(c *Config) { c.Log = slog.LevelWarn },
			errs:  []string{"foo: ", "hostname: |a_b", "dns.nameservers: |\"x\"|127.0.0.1"},
		},
		{
			name: "services",
			files: files{DefaultFile: `
[[service]]
name = "late"
argv = ["/bin/late", "-x"]
restart = "never"
after = ["early", "agent", "gone"]
[[service]]
name = "early"
argv = ["/bin/early"]
grace = "3s"
kill = "session"
[[service]]
name = "agent"
argv = ["/bin/other"]
[[service]]
name = "early"
argv = ["/bin/other"]
[[service]]
name = "a"
argv = ["/bin/a"]
after = ["b"]
[[service]]
name = "b"
argv = ["/bin/b"]
after = ["a"]
[[service]]
name = "no path"
argv = ["sh"]
[[service]]
name = "relative"
argv = ["sh"]
[[service]]
name = "nothing"
[[service]]
name = "often"
argv = ["/bin/often"]
restart = "often"
[[service]]
name = "gone"
argv = ["/bin/gone"]
kill = "all"
[[service]]
name = "slow"
argv = ["/bin/slow"]
grace = "long"
[[service]]
name = "arcinit"
argv = ["/bin/forger"]
`},
			want: func(c *Config) {
				c.Services = []Service{
					{Name: "early", Argv: []string{"/bin/early"}, Restart: "always", Process: Process{Kill: "session", Grace: 3 * time.Second, GraceText: "3s"}},
					{Name: "gone", Argv: []string{"/bin/gone"}, Restart: "always", Process: Process{Kill: "process", Grace: 15 * time.Second}},
					{Name: "late", Argv: []string{"/bin/late", "-x"}, Restart: "never", After: []string{"early", "agent", "gone"}, Process: Process{Kill: "process", Grace: 15 * time.Second}},
					{Name: "slow", Argv: []string{"/bin/slow"}, Restart: "always", Process: Process{Kill: "process", Grace: 15 * time.Second}},
				}
			},
			errs: []string{
				"service 3 (agent): ", "service 4 (early): ", `service 7 (no path): |name`, `service 8 (relative): argv: |"sh"`,
				"service 9 (nothing): argv", `service 10 (often): restart |"often"`, `service 11 (gone): kill: |"all"`, `service 12 (slow): grace: |"long"|15s`,
				`service 13 (arcinit): |"arcinit"`,
				`service 5 (a): after |"b"`, `service 6 (b): after |"a"`,
			},
		},
		{
			name: "handlers of other programs",
			files: files{DefaultFile: `
[[binfmt]]
name = "riscv64"
interpreter = "/arcbox/bin/qemu"
magic = '\x7fELF\x02'
mask = '\xff\xff\xff\xff\xfe'
flags = "F"
[[binfmt]]
name = "text"
interpreter = "/bin/cat"
magic = "TEXT"
offset = 4
[[binfmt]]
name = "text"
interpreter = "/bin/cat"
magic = "OTHER"
[[binfmt]]
name = "rosetta"
interpreter = "/bin/cat"
magic = "X"
[[binfmt]]
name = "bytes"
interpreter = "/bin/cat"
magic = "\u00ff"
[[binfmt]]
name = "short"
interpreter = "/bin/cat"
magic = "AB"
mask = '\xff'
[[binfmt]]
name = "escape"
interpreter = "/bin/cat"
magic = "AB"
mask = '\n'
`},
			want: func(c *Config) {
				c.Handlers = []*binfmt.Handler{
					{Name: "riscv64", Interpreter: "/arcbox/bin/qemu", Magic: []byte("\x7fELF\x02"), Mask: []byte("\xff\xff\xff\xff\xfe"), Flags: "F"},
					{Name: "text", Interpreter: "/bin/cat", Magic: []byte("TEXT"), Offset: 4},
				}
			},
			errs: []string{
				"binfmt 3 (text): ", "binfmt 4 (rosetta): ", `binfmt 5 (bytes): |"ÿ"`, "binfmt 6 (short): mask", `binfmt 7 (escape): |"\\n"`,
			},
		},
		{
			name:  "handlers of the wrong type",
			files: files{DefaultFile: "hostname = \"x\"\n[[binfmt]]\noffset = \"4\"\n"},
			want:  func(*Config) {},
			errs:  []string{DefaultFile + ": |line 3|binfmt"},
		},
		{
			name: "network",
			files: files{DefaultFile: `
[network]
primary = "eth1"
bridge = "eth/0"
probe_address = true
release_on_poweroff = true
ipv6_router = true
[[network.nic]]
nic = "52:54:00:00:00:0A"
role = "static"
address = "192.0.2.5/24"
[[network.nic]]
nic = "eth3"
role = "off"
[[network.nic]]
nic = "52:54:00:00:00:0a"
role = "dhcp"
[[network.nic]]
nic = "eth1"
role = "dhcp"
[[network.nic]]
nic = "eth4"
role = "bridge"
[[network.nic]]
nic = "eth5"
role = "static"
[[network.nic]]
nic = "eth6"
role = "static"
address = "fd00::1/64"
[[network.nic]]
nic = "eth7"
role = "dhcp"
address = "192.0.2.6/24"
[[network.nic]]
role = "dhcp-no-route"
[[network.nic]]
nic = "eth8"
role = "dhcp-no-route"
`},
			want: func(c *Config) {
				c.Network = Network{
					Primary: "eth1", ProbeAddress: true, ReleaseOnPowerOff: true, IPv6Router: true,
					NICs: []NIC{
						{NIC: "52:54:00:00:00:0A", Role: "static", Address: netip.MustParsePrefix("192.0.2.5/24")},
						{NIC: "eth3", Role: "off"}, {NIC: "eth8", Role: "dhcp-no-route"},
					},
				}
			},
			errs: []string{
				`network.bridge: |"eth/0"`, "network.nic 3 (52:54:00:00:00:0a): ", "network.nic 4 (eth1): ",
				`network.nic 5 (eth4): role "bridge"|dhcp, dhcp-no-route, static, off`, "network.nic 6 (eth5): |address",
				`network.nic 7 (eth6): address "fd00::1/64"`, "network.nic 8 (eth7): |address", `network.nic 9 (): |""`,
			},
		},
		{
			name:    "NICs on the command line win, and a bad one leaves the file's",
			cmdline: "arcbox.primary=52:54:00:00:00:01 arcbox.bridge=a:b",
			files:   files{DefaultFile: "[network]\nprimary = \"eth3\"\nbridge = \"eth4\"\n"},
			want:    func(c *Config) { c.Primary, c.Bridge = "52:54:00:00:00:01", "eth4" },
			errs:    []string{`kernel command line: arcbox.bridge: |"a:b"|eth4`},
		},
		{
			name:  "shutdown",
			files: files{DefaultFile: "[shutdown]\nwithout_poweroff = \"halt\"\ngrace = \"soon\"\nlimit = \"10ms\"\n[agent]\ngrace = \"4s\"\nkill = \"session\"\n"},
			want: func(c *Config) {
				c.WithoutPowerOff, c.Agent.Grace, c.Agent.GraceText, c.Agent.Kill = "halt", 4*time.Second, "4s", "session"
			},
			errs: []string{"shutdown.grace: |soon|15s", "shutdown.limit: |10ms|25s"},
		},
		{
			name: "clock, zram, container network and start limit",
			files: files{DefaultFile: `
[docker]
container_network = "10.0.0.0/12"
[clock]
source = "/dev/ptp1"
[memory]
zram = "50%"
[boot]
require = ["network"]
[agent.start_limit]
interval = "1m"
`},
			want: func(c *Config) {
				c.ContainerNetwork, c.ClockSource, c.Zram, c.Require = "10.0.0.0/12", "/dev/ptp1", 50, []string{"network"}
				c.Agent.StartLimit.Text, c.Agent.StartLimit.Interval, c.Agent.StartLimit.Burst = "1m", time.Minute, 5
			},
		},
		{
			name: "clock, zram, container network and start limit of a wrong form",
			files: files{DefaultFile: `
[docker]
container_network = "10.0.0.0/30"
[clock]
source = "gps"
[memory]
zram = "50"
[agent.start_limit]
interval = "often"
burst = 2
`},
			want: func(c *Config) {
				c.Agent.StartLimit.Text, c.Agent.StartLimit.Interval, c.Agent.StartLimit.Burst = "often", 10*time.Second, 2
			},
			errs: []string{`agent.start_limit.interval: |"often"|10s`, `docker.container_network: |"10.0.0.0/30"`, `clock.source: |"gps"|auto`, `memory.zram: |"50"`},
		},
		{
			name: "mounts of a wrong form",
			files: files{DefaultFile: `
[[share]]
tag = "a,b"
path = "/a"
[[disk]]
device = "/dev/vdb"
[[disk]]
path = "/data"
[[disk]]
device = "/dev/vdc"
[disk.directories]
"relative" = "x"
`},
			want: func(*Config) {},
			errs: []string{`share 1 (a,b): |"a,b"`, "disk 1 (/dev/vdb): |path", "disk 2 (): |device", `disk 3 (/dev/vdc): |"relative"`},
		},
		{
			name:    "bad and unknown keys on the command line",
			cmdline: "arcbox.log=loud arcbox.agent=relative arcbox.agnet=/x arcbox.debug-console arcbox.machine_name=x other.agnet=/x",
			want:    func(*Config) {},
			errs: []string{"arcbox.log: |loud|debug, info, warn or error|INFO", "arcbox.agent: |relative|" + Default().Agent.Argv[0],
				"arcbox.agnet: |arcbox.agent ", "arcbox.debug-console: |arcbox.debug_console "},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Load(ParseCommandLine(tt.cmdline), tt.files.read)
			want := Default()
			tt.want(&want)
			got.From = want.From // TestFrom looks at these
			if !reflect.DeepEqual(got, want) {
				t.Errorf("Load = %+v, want %+v", got, want)
			}
			checkErrors(t, err, tt.errs)
		})
	}
}

func TestCheckHostname(t *testing.T) {
	for name, ok := range map[string]bool{
		"arcbox": true, "a.b-c.d9": true, strings.Repeat("a", 63): true,
		"": false, "-a": false, "a-": false, "a..b": false, "a_b": false, "a b": false,
		strings.Repeat("a", 64): false, strings.Repeat("a.", 32) + "a": false,
	} {
		if err := CheckHostname(name); (err == nil) != ok {
			t.Errorf("CheckHostname(%q) = %v", name, err)
		}
	}
}

func TestSandboxSubnet(t *testing.T) {
	const other = "/vmm.toml"
	for _, tt := range []struct {
		name, named string
		files       files
		want        string
		errs        []string
	}{
		{name: "nothing", want: "172.20.0.0/16"},
		{name: "image's file", files: files{vmmDefaultFile: "x = 1\n[network]\ncidr = \"10.9.8.7/20\"\n"}, want: "10.9.0.0/20"},
		{name: "named file", named: other, files: files{other: "[network]\ncidr = \"10.1.0.0/16\"", vmmDefaultFile: "[network]\ncidr = \"10.2.0.0/16\""}, want: "10.1.0.0/16"},
		{name: "named file missing", named: other, files: files{vmmDefaultFile: "[network]\ncidr = \"10.2.0.0/16\""}, want: "10.2.0.0/16", errs: []string{other}},
		{name: "named file says nothing", named: other, files: files{other: "", vmmDefaultFile: "[network]\ncidr = \"10.2.0.0/16\""}, want: "10.2.0.0/16"},
		{name: "both files bad", named: other, files: files{other: "=", vmmDefaultFile: "[network]\ncidr = \"x\""}, want: "172.20.0.0/16", errs: []string{other + ": |line 1|172.20.0.0/16", vmmDefaultFile + ": |\"x\"|172.20.0.0/16"}},
		{name: "bad CIDR", files: files{vmmDefaultFile: "[network]\ncidr = \"10.2.0.0\""}, want: "172.20.0.0/16", errs: []string{vmmDefaultFile + ": network.cidr: |10.2.0.0|172.20.0.0/16"}},
		{name: "IPv6", files: files{vmmDefaultFile: "[network]\ncidr = \"fd00::/8\""}, want: "172.20.0.0/16", errs: []string{"fd00::/8|172.20.0.0/16"}},
		{name: "everything", files: files{vmmDefaultFile: "[network]\ncidr = \"0.0.0.0/0\""}, want: "172.20.0.0/16", errs: []string{"0.0.0.0/0|172.20.0.0/16"}},
		{name: "not TOML", named: other, files: files{other: "\n[network]\ncidr = =\n"}, want: "172.20.0.0/16", errs: []string{other + ": |line 3"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := SandboxSubnet(tt.named, tt.files.read)
			if got.String() != tt.want {
				t.Errorf("SandboxSubnet = %s, want %s", got, tt.want)
			}
			checkErrors(t, err, tt.errs)
		})
	}
}

func FuzzMerge(f *testing.F) {
	f.Add("hostname = \"x\"\n[docker.daemon]\ndns = [\"10.0.0.1\"]\n")
	f.Add("[shutdown]\ngrace = \"-1s\"\n[dns]\nnameservers = [\"::1\"]\n")
	f.Add("[network]\nprimary = \"eth0\"\nbridge = \"52:54:00:00:00:02\"\nprobe_address = true\n")
	f.Add("[network]\nbridge = \"eth1\"\n[[network.nic]]\nnic = \"eth1\"\nrole = \"dhcp\"\n[[network.nic]]\nnic = \"eth2\"\nrole = \"static\"\naddress = \"192.0.2.5/24\"\n")
	f.Add("[[network.nic]]\nnic = \"../x\"\nrole = \"static\"\naddress = \"::ffff:1.2.3.4/96\"\n[[network.nic]]\nnic = \"eth2\"\nrole = \"off\"\naddress = \"192.0.2.5/24\"\n")
	f.Add("[[binfmt]]\nname = \"a\"\ninterpreter = \"/a\"\nmagic = '\\x7fELF'\nmask = '\\xff\\xff\\xff\\xfe'\noffset = 1\nflags = \"OC\"\n")
	f.Add("[[service]]\nname = \"a\"\nargv = [\"/a\"]\nafter = [\"b\"]\ngrace = \"1s\"\n[[service]]\nname = \"netd\"\nargv = [\"/b\"]\n[sysctl]\nvm.swappiness = 10\n\"fs/../x\" = 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		c := Default()
		_ = c.mergeFile("fuzz.toml", text)
		for _, h := range c.Handlers {
			if err := h.Check(); err != nil {
				t.Errorf("%q has a handler %+v: %v", text, h, err)
			}
		}
		names := map[string]bool{"arcinit": true, "netd": true, "agent": true, "console": true}
		for _, s := range c.Services {
			if names[s.Name] || strings.ContainsAny(s.Name, ": \n") || s.Grace < 0 || !filepath.IsAbs(s.Argv[0]) {
				t.Errorf("%q has a service %+v", text, s)
			}
			names[s.Name] = true
		}
		for path := range c.Sysctls {
			if !fs.ValidPath(path) {
				t.Errorf("%q sets %q", text, path)
			}
		}
		if c.Agent.Argv[0] == "" || len(c.Nameservers) == 0 || c.Grace < 0 {
			t.Errorf("%q left the configuration unusable: %+v", text, c)
		}
		checkNetwork(t, text, c.Network)
	})
}

// checkNetwork finds fault with what the network daemon would not stand.
func checkNetwork(t *testing.T, text string, n Network) {
	t.Helper()
	names := make(map[string]bool)
	for _, nic := range append([]NIC{{NIC: n.Primary}, {NIC: n.Bridge}}, n.NICs...) {
		if nic.NIC != "" && (filepath.Base(nic.NIC) != nic.NIC || strings.ContainsAny(nic.NIC, " \n\x00")) {
			t.Errorf("%q names the NIC %q", text, nic.NIC)
		}
		if nic.Role == "" {
			continue
		}
		if name := strings.ToLower(nic.NIC); name == "" || names[name] {
			t.Errorf("%q has the NIC %q twice", text, name)
		} else {
			names[name] = true
		}
		if nic.Role != "dhcp" && nic.Role != "dhcp-no-route" && nic.Role != "static" && nic.Role != "off" || (nic.Role == "static") != (nic.Address.IsValid() && nic.Address.Addr().Is4() && nic.Address.Bits() > 0) {
			t.Errorf("%q has the NIC %+v", text, nic)
		}
	}
}

func FuzzParseCommandLine(f *testing.F) {
	f.Add("quiet arcbox.log=debug \"a b=c\" x=\"y z\"")
	f.Add("root=PARTUUID=6f0a-02 rootfstype=ext4,,btrfs rootflags=data=journal rootwait rootwait=-1 ro rw")
	f.Fuzz(func(t *testing.T, text string) {
		l := ParseCommandLine(text)
		_, _ = Load(l, files{}.read)
		if r, _ := l.Root(); r.Wait < WaitForever || slices.Contains(r.Types, "") {
			t.Errorf("%q asks for the root %+v", text, r)
		}
	})
}

func FuzzSandboxSubnet(f *testing.F) {
	f.Add("[network]\ncidr = \"10.88.0.1/16\"\n")
	f.Add("[network]\ncidr = \"::ffff:1.2.3.4/96\"\n")
	f.Add("network.cidr = \"0.0.0.0/0\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		subnet, _ := SandboxSubnet("/vmm.toml", files{"/vmm.toml": text}.read)
		if !subnet.IsValid() || !subnet.Addr().Is4() || subnet.Bits() == 0 || subnet != subnet.Masked() {
			t.Errorf("%q has the subnet %v", text, subnet)
		}
	})
}

func TestSysctls(t *testing.T) {
	const text = `[sysctl]
vm.swappiness = 10
"vm.max_map_count" = 262144
"net/ipv4/conf/eth0.100/rp_filter" = 2
"net.ipv4.conf.eth0/101.rp_filter" = 2
"/kernel/panic_on_oops" = 1
"-net.ipv4.conf.*.rp_filter" = 0
-kernel.keys.maxkeys = 7
"-net/bridge/bridge-nf-call-iptables" = 1
net.ipv4.ip_local_port_range = "1024 65535"
"fs/../x" = 1
kernel.panic = 1.5
kernel.core_pattern = "a\nb"
`
	c := Default()
	checkErrors(t, c.mergeFile("/f", text), []string{"/f: sysctl: fs/../x: ", "/f: sysctl: kernel/core_pattern: ", "/f: sysctl: kernel/panic: |1.5"})
	want := map[string]Sysctl{
		"vm/swappiness": {"10", false}, "vm/max_map_count": {"262144", false}, "kernel/panic_on_oops": {"1", false},
		"net/ipv4/conf/eth0.100/rp_filter": {"2", false}, "net/ipv4/conf/eth0.101/rp_filter": {"2", false},
		"net/ipv4/ip_local_port_range": {"1024 65535", false}, "net/ipv4/conf/*/rp_filter": {"0", true},
		"kernel/keys/maxkeys": {"7", true}, "net/bridge/bridge-nf-call-iptables": {"1", true},
	}
	if !reflect.DeepEqual(c.Sysctls, want) {
		t.Errorf("sysctls are %v, want %v", c.Sysctls, want)
	}
}

// TestHeldSysctls tries to undo what the set-up sets, in every way to spell it.
func TestHeldSysctls(t *testing.T) {
	for _, text := range []string{
		"net.ipv4.ip_forward = 0", `"net.ipv4.ip_forward" = 0`, `"net/ipv4/ip_forward" = 0`, `"/net/ipv4/ip_forward" = 0`,
		"net.ipv4.conf.all.forwarding = 0", `"net/ipv4/conf/all/forwarding" = "0"`, `net.ipv4."conf.all.forwarding" = 0`,
		`net.ipv4."conf/all/forwarding" = 0`, `"net/ipv4".conf.all.forwarding = 0`, `net.ipv4.conf."/all/forwarding" = 0`,
		`"//net/ipv4/ip_forward" = 0`, `"net//ipv4/ip_forward" = 0`, `"net..ipv4.ip_forward" = 0`, `"net/ipv4/./ip_forward" = 0`,
		`"net/ipv4/conf/../ip_forward" = 0`, `"net.ipv4.ip_forward." = 0`, `"net/ipv4/ip_forward/" = 0`,
		`"-net.ipv4.ip_forward" = 0`, `-net.ipv4.ip_forward = 0`, `"-/net/ipv4/ip_forward" = 0`,
		"fs.nr_open = 1024", "kernel.hostname = \"x\"", "kernel.modprobe = \"/bin/false\"",
	} {
		c := Default()
		checkErrors(t, c.mergeFile("/f", "[sysctl]\n"+text+"\nvm.swappiness = 10\n"), []string{"/f: sysctl: "})
		if want := map[string]Sysctl{"vm/swappiness": {Value: "10"}}; !reflect.DeepEqual(c.Sysctls, want) {
			t.Errorf("%s: sysctls are %v, want %v", text, c.Sysctls, want)
		}
	}
	// A single NIC, and new ones, are the host's to configure.
	c := Default()
	checkErrors(t, c.mergeFile("/f", "[sysctl.net.ipv4.conf]\ndefault.forwarding = 0\neth2.forwarding = 0\n"), nil)
	if len(c.Sysctls) != 2 {
		t.Errorf("sysctls are %v, want two", c.Sysctls)
	}
}

func TestText(t *testing.T) {
	for data, want := range map[string]string{
		"": "", "a": "a", "\xef\xbb\xbfa\n": "a\n", "\xff\xfea\x00\x42\x26": "a\u2642", "\xfe\xff\x00a\x26\x42": "a\u2642", "\xff\xfea": "", "\xff": "\xff",
	} {
		if got := Text([]byte(data)); got != want {
			t.Errorf("Text(%q) = %q, want %q", data, got, want)
		}
	}
}

// TestLayers has an image's file, a host's file and the command line. The image lists what the host may set.
func TestLayers(t *testing.T) {
	const image = `
hostname = "image"
log = "warn"
[host]
allow = ["log", "service", "share", "tmpfs", "disk", "agent", "nonesuch"]
[agent]
env = { A = "image", B = "image" }
kill = "session"
[network]
probe_address = true
[[service]]
name = "a"
argv = ["/image"]
[[service]]
name = "b"
argv = ["/image"]
after = ["a"]
[[share]]
tag = "users"
enabled = false
[[share]]
tag = "arcbox"
path = "/arcbox"
wait = "9s"
`
	const host = `
hostname = "host"
log = "error"
[agent]
env = { A = "host" }
grace = "7s"
[network]
probe_address = false
[[service]]
name = "a"
argv = ["/host"]
[[share]]
tag = "private"
path = "/elsewhere"
[[share]]
tag = "code"
path = "/code"
read_only = true
[[share]]
tag = "bad"
path = "relative"
[[tmpfs]]
path = "/var/jail"
enabled = false
[[tmpfs]]
path = "/run"
[[disk]]
device = "LABEL=x"
path = "/data"
format = "ext4"
[[disk]]
device = "/dev/vdb"
format = "ext4"
[disk.directories]
"/var/lib/docker" = "docker"
`
	c, err := Load(ParseCommandLine("arcbox.log=debug"), files{ImageFile: image, DefaultFile: host}.read)
	checkErrors(t, err, []string{
		ImageFile + ": host.allow: |nonesuch", DefaultFile + ": hostname: |" + ImageFile, DefaultFile + ": network: |" + ImageFile,
		"share 1 (private): |" + ImageFile, `share 3 (bad): |"relative"`, `tmpfs 2 (/run): |/run`, "disk 1 (LABEL=x): |format",
	})
	if c.Hostname != "image" || c.Log != slog.LevelDebug || !c.ProbeAddress || c.Agent.Kill != "session" || c.Agent.Grace != 7*time.Second ||
		c.Agent.Env["A"] != "host" || c.Agent.Env["B"] != "image" {
		t.Errorf("the layers are %+v", c)
	}
	if len(c.Services) != 2 || c.Services[0].Argv[0] != "/host" || c.Services[1].Name != "b" {
		t.Errorf("the services are %+v", c.Services)
	}
	if _, ok := c.Share("users"); ok {
		t.Error("users was removed by the image")
	}
	if s, ok := c.Share("/arcbox"); !ok || s.Wait != 9*time.Second {
		t.Errorf("arcbox is %+v", s)
	}
	if s, ok := c.Share("code"); !ok || !s.ReadOnly || s.Path != "/code" {
		t.Errorf("code is %+v", s)
	}
	if slices.ContainsFunc(c.Tmpfs, func(m Tmpfs) bool { return m.Path == "/var/jail" }) || len(c.Tmpfs) != len(Default().Tmpfs)-1 {
		t.Errorf("tmpfs are %+v", c.Tmpfs)
	}
	if len(c.Disks) != 1 || c.Disks[0].Directories["/var/lib/docker"] != "docker" {
		t.Errorf("disks are %+v", c.Disks)
	}
	for key, want := range map[string]string{"hostname": ImageFile, "log": "kernel command line", "network.probe_address": ImageFile, "service a": DefaultFile,
		"service b": ImageFile, "agent.env.A": DefaultFile, "agent.env.B": ImageFile, "share users": ImageFile, "share bad": "", "disk /dev/vdb": DefaultFile} {
		if c.From[key] != want {
			t.Errorf("%s was set by %q, want %q", key, c.From[key], want)
		}
	}
}
