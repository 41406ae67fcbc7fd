//go:build vmtest

package vmtests

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/arcinit/arcinit/vmtests/probe"
)

const binfmtMisc = "/proc/sys/fs/binfmt_misc"

// x8664Entry is the kernel's entry for a handler of x86-64 programs.
func x8664Entry(interpreter, flags string) string {
	return "enabled\ninterpreter " + interpreter + "\nflags: " + flags + "\noffset 0\n" +
		"magic 7f454c4602010100000000000000000002003e00\n" +
		"mask fffffffffffefe00fffffffffffffffffeffffff\n"
}

// foreign builds, for a processor, the program that prints where it runs.
func foreign(t *testing.T, arch string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "foreign-"+arch)
	build := exec.Command("go", "build", "-o", program, "./foreign")
	build.Env = append(os.Environ(), "GOARCH="+arch, "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build a program for %s: %v\n%s", arch, err, out)
	}
	return program
}

// onARM skips a test of something that amd64 must not have.
func onARM(t *testing.T) {
	t.Helper()
	if arch() != "arm64" {
		t.Skipf("row rosetta is for arm64, not %s; TestHandlers checks that amd64 goes without it", arch())
	}
}

// runsX8664 runs the x86-64 program on the share, also where one mount is missing.
func runsX8664(t *testing.T, m *machine, mount, interpreter string) {
	t.Helper()
	const program = "/arcbox/x86-64"
	if got := m.run(t, program, interpreter); got.Stdout != "amd64 ["+program+" "+interpreter+"] <nil>\n" {
		t.Errorf("the program printed %+v", got)
	}
	if mount == "" {
		return
	}
	got := must[probe.Result](t, m, "RunWithout", probe.Without{Mount: mount, Argv: []string{program, interpreter}})
	if !strings.HasPrefix(got.Stdout, "amd64 [") || !strings.HasSuffix(got.Stdout, interpreter+": no such file or directory\n") {
		t.Errorf("without %s the program printed %+v", mount, got)
	}
}

// again repeats the set-up in the live guest, and returns a step's outcome and the
// lines about that step.
func again(t *testing.T, m *machine, step string) (outcome, text string) {
	t.Helper()
	r := m.run(t, "/run/arcbox/bin/uinit")
	var said []string
	inError := false
	for line := range strings.Lines(r.Stdout) {
		f := strings.Fields(line)
		if len(f) > 3 && f[2] == step {
			outcome, said = f[3], append(said, line)
			continue
		}
		// Errors of steps come after the table; their further lines are indented.
		inError = len(f) > 0 && (f[0] == step || inError && line[0] == ' ')
		if inError {
			said = append(said, f...)
		}
	}
	if outcome == "" {
		t.Fatalf("no step %s: %+v", step, r)
	}
	return outcome, strings.Join(said, " ")
}

// TestRosetta has an emulator in the place of Rosetta.
func TestRosetta(t *testing.T) {
	t.Parallel()
	onARM(t)
	const program = "/media/rosetta/rosetta"
	emulator := built(t, "emulator")
	m := boot(t, image{tags: []string{"rosetta"}, cmdline: []string{quiet}, programs: map[string]string{
		"rosetta/rosetta": emulator, "arcbox/x86-64": foreign(t, "amd64"),
		"arcbox/runtime/bin/FEX": emulator, // not needed beside Rosetta
	}})
	comesUp(t, m)
	want := x8664Entry(program, "OCF")
	t.Run("registered", func(t *testing.T) {
		start := must[probe.AtStart](t, m, "AtStart", none{})
		mp := mount(start.Mounts, "/media/rosetta")
		if mp == nil || mp.FSType != "virtiofs" || mp.Source != "rosetta" || mp.Options[0] != "ro" {
			t.Errorf("mounted on /media/rosetta is %+v", mp)
		}
		if mp := mount(start.Mounts, binfmtMisc); mp == nil || mp.FSType != "binfmt_misc" {
			t.Errorf("mounted on %s is %+v", binfmtMisc, mp)
		}
		if got := m.read(t, binfmtMisc+"/rosetta"); got != want {
			t.Errorf("the kernel has %q, want %q", got, want)
		}
		outcome(t, m, "rosetta", "ok")
		outcome(t, m, "binfmt", "unavailable")
		if got := must[[]string](t, m, "Glob", binfmtMisc+"/*"); len(got) != 3 { // register, status, rosetta
			t.Errorf("binfmt_misc has %v", got)
		}
	})
	t.Run("runs", func(t *testing.T) { runsX8664(t, m, "/media/rosetta", program) })
	t.Run("again", func(t *testing.T) {
		if outcome, line := again(t, m, "rosetta"); outcome != "already" {
			t.Error(line)
		}
	})
	for name, change := range map[string][2]string{
		"disabled":              {"rosetta", "0"},
		"all disabled":          {"status", "0"},
		"gone":                  {"rosetta", "-1"},
		"another interpreter":   {"register", strings.Replace(registration("rosetta", "/media/rosetta/rosetta", "CF"), "/media/rosetta/rosetta", "/arcbox/runtime/bin/FEX", 1)},
		"other flags":           {"register", strings.Replace(registration("rosetta", "/media/rosetta/rosetta", "CF"), ":CF", ":OC", 1)},
		"another kind of entry": {"register", ":rosetta:E::x86::/arcbox/x86-64:"},
	} {
		t.Run(name, func(t *testing.T) {
			if change[0] == "register" {
				m.write(t, binfmtMisc+"/rosetta", "-1")
			}
			m.write(t, binfmtMisc+"/"+change[0], change[1])
			if got, err := ask[[]byte](m, "ReadFile", binfmtMisc+"/rosetta"); change[0] != "status" && err == nil && string(got) == want {
				t.Error("nothing has changed")
			}
			if outcome, line := again(t, m, "rosetta"); outcome != "ok" {
				t.Error(line)
			}
			if got := m.read(t, binfmtMisc+"/rosetta"); got != want {
				t.Errorf("the kernel has %q, want %q", got, want)
			}
			if outcome, line := again(t, m, "rosetta"); outcome != "already" {
				t.Error(line)
			}
		})
	}
	t.Run("still runs", func(t *testing.T) { runsX8664(t, m, "/media/rosetta", program) })
	t.Run("poweroff", func(t *testing.T) { powersOffCleanly(t, m) })
}

// powersOffCleanly powers off while the kernel has an interpreter open. No warning
// may name a share.
func powersOffCleanly(t *testing.T, m *machine) {
	t.Helper()
	before := len(m.ConsoleText())
	testPowerOff(t, m)
	for line := range strings.Lines(m.ConsoleText()[before:]) {
		if strings.Contains(line, "arcinit: ") && (strings.Contains(line, "/media/rosetta") || strings.Contains(line, "/arcbox")) {
			t.Errorf("at power-off the console has %q", line)
		}
	}
}

// registration registers a handler for x86-64 programs, as in the kernel's
// documentation.
func registration(name, interpreter, flags string) string {
	return ":" + name + `:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x3e\x00:` +
		`\xff\xff\xff\xff\xff\xfe\xfe\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:` + interpreter + ":" + flags
}

// TestRosettaUnfit has the host share programs that are not Rosetta, then one that
// works.
func TestRosettaUnfit(t *testing.T) {
	t.Parallel()
	onARM(t)
	const program = "/media/rosetta/rosetta"
	m := boot(t, image{tags: []string{"rosetta"}, cmdline: []string{quiet}, programs: map[string]string{"arcbox/x86-64": foreign(t, "amd64")}})
	comesUp(t, m)
	said(t, m, "arcinit: ", "rosetta", "outcome=ok", "err=") // a fallback is a warning
	outcome(t, m, "rosetta", "ok", "rosetta")
	if found := must[[]string](t, m, "Glob", binfmtMisc+"/*"); len(found) != 0 {
		t.Errorf("binfmt_misc is mounted, with %v", found)
	}
	for _, tt := range []struct{ file, want string }{
		{"tools/ip/bin/ip", "failed"}, // needs a dynamic loader
		{"vmlinuz-stock", "failed"},   // is no ELF program
		{"emulator", "ok"},
	} {
		m.install(built(t, tt.file), "rosetta", "rosetta", 0o755)
		// The guest may see the old file for a while: virtiofs caches names.
		eventually(t, func() string {
			outcome, line := again(t, m, "rosetta")
			if outcome != tt.want || tt.want == "failed" && !strings.Contains(line, program) {
				return tt.file + " as Rosetta: " + line
			}
			return ""
		})
	}
	runsX8664(t, m, "/media/rosetta", program)
}

// TestFEX has an emulator in the place of FEX, and no Rosetta.
func TestFEX(t *testing.T) {
	t.Parallel()
	onARM(t)
	const program = "/arcbox/runtime/bin/FEX"
	m := boot(t, image{cmdline: []string{quiet}, programs: map[string]string{
		"arcbox/runtime/bin/FEX": built(t, "emulator"), "arcbox/x86-64": foreign(t, "amd64")}})
	comesUp(t, m)
	outcome(t, m, "rosetta", "unavailable", "arcbox")
	outcome(t, m, "binfmt", "ok")
	if got, want := m.read(t, binfmtMisc+"/FEX-x86_64"), x8664Entry(program, "POCF"); got != want {
		t.Errorf("the kernel has %q, want %q", got, want)
	}
	runsX8664(t, m, "", program)
	if outcome, line := again(t, m, "binfmt"); outcome != "already" {
		t.Error(line)
	}
	// Today's agent registers its own copy, by the same name, after the boot.
	m.run(t, "/arcbox/bin/arcbox-agent", "copy", program, "/run/arcbox/runtime/bin/FEX")
	must[none](t, m, "WriteFile", writeFile{binfmtMisc + "/FEX-x86_64", []byte("-1")})
	theirs := x8664Entry("/run/arcbox/runtime/bin/FEX", "POCF")
	must[none](t, m, "WriteFile", writeFile{binfmtMisc + "/register", []byte(registration("FEX-x86_64", "/run/arcbox/runtime/bin/FEX", "POCF"))})
	for range 2 {
		if got := m.read(t, binfmtMisc+"/FEX-x86_64"); got != theirs {
			t.Errorf("the kernel has %q, want the agent's %q", got, theirs)
		}
		again(t, m, "binfmt")
	}
	powersOffCleanly(t, m)
}

// TestHandlers configures handlers in arcinit.toml, one of which would take over
// the machine's own programs. amd64 ignores a share rosetta and FEX.
func TestHandlers(t *testing.T) {
	t.Parallel()
	own := map[string]string{"amd64": `\x3e`, "arm64": `\xb7`}[arch()]
	page := filepath.Join(t.TempDir(), "page.show")
	if err := os.WriteFile(page, []byte("....SHOW"), 0o644); err != nil {
		t.Fatal(err)
	}
	im := image{tags: []string{"rosetta"}, cmdline: []string{quiet},
		programs: map[string]string{"arcbox/show": foreign(t, arch()), "arcbox/page.show": page},
		shared: map[string]string{
			"etc/arcinit.toml": `
[[binfmt]]
name = "native"
interpreter = "/arcbox/show"
magic = '\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00` + own + `\x00'
mask = '\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
[[binfmt]]
name = "show"
interpreter = "/arcbox/show"
magic = "SHOX"
mask = '\xff\xff\xff\x00'
offset = 4
flags = "F"
[[binfmt]]
name = "later"
interpreter = "/arcbox/later"
magic = "LATER"
`}}
	if arch() == "amd64" {
		im.programs["rosetta/rosetta"], im.programs["arcbox/runtime/bin/FEX"] = im.programs["arcbox/show"], im.programs["arcbox/show"]
	}
	m := boot(t, im)
	comesUp(t, m, "binfmt")
	said(t, m, "arcinit: ", "binfmt", "outcome=failed", "native")
	outcome(t, m, "binfmt", "failed", "native", "/arcbox/later: "+syscall.ENOENT.Error())
	const shown = "enabled\ninterpreter /arcbox/show\nflags: F\noffset 4\nmagic 53484f58\nmask ffffff00\n"
	if got := m.read(t, binfmtMisc+"/show"); got != shown {
		t.Errorf("the kernel has %q, want %q", got, shown)
	}
	if got := must[[]string](t, m, "Glob", binfmtMisc+"/*"); len(got) != 4 { // register, status, show, later
		t.Errorf("binfmt_misc has %v", got)
	}
	if got, want := m.run(t, "/arcbox/page.show"), arch()+" [/arcbox/show /arcbox/page.show] <nil>\n"; got.Stdout != want {
		t.Errorf("the interpreter said %+v, want %q", got, want)
	}
	if arch() == "amd64" {
		outcome(t, m, "rosetta", "unavailable", "arm64")
		if found := must[[]string](t, m, "Glob", "/media/*"); len(found) != 0 {
			t.Errorf("there is %v", found)
		}
	}
}
