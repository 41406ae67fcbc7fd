package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// computer is a machine on which a test runs make: a copy of this module, programs, and files such as /etc/os-release.
type computer struct {
	t           *testing.T
	module, bin string
	root        string // stands for / where the scripts look for the distribution, virtiofsd and kernels
	home        string
	env         []string
}

// installed is the file that the computer's package managers leave when they are called to install something.
const installed = "installed"

// programs are what make run needs beside the packages that it installs or names.
const programs = `awk bash cat chmod cmp cp cut date df dirname env find flock git go grep head ln ls make mkdir mktemp mv paste
	realpath rm script sed seq sh sha256sum sleep sort stat tail touch tr uname`

// newComputer returns a computer that lacks nothing. Its programs are this machine's, except those that make run may have to
// install.
func newComputer(t *testing.T) *computer {
	t.Helper()
	dir := t.TempDir()
	c := &computer{t: t, module: filepath.Join(dir, "module"), bin: filepath.Join(dir, "bin"), root: filepath.Join(dir, "root"), home: filepath.Join(dir, "home")}
	// Only the sources are not copied: nothing writes to them.
	for _, part := range []string{"scripts", "kernel-config"} {
		if err := os.CopyFS(filepath.Join(c.module, part), os.DirFS(filepath.Join("../..", part))); err != nil {
			t.Fatal(err)
		}
	}
	for _, part := range []string{"Makefile", "LICENSE", "go.mod", "go.sum", "cmd", "internal", "pkg", "vmtests"} {
		from, err := filepath.Abs(filepath.Join("../..", part))
		if err != nil {
			t.Fatal(err)
		}
		c.link(from, filepath.Join(c.module, part))
	}
	for name := range strings.FieldsSeq(programs) {
		program, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		c.link(program, filepath.Join(c.bin, name))
	}
	for _, name := range []string{"qemu-system-x86_64", "kmod", "xz", "zstd"} {
		c.program(name, "exit 1")
	}
	c.program("apt-get", "echo called >"+filepath.Join(dir, installed)+"; echo 'E: Could not connect to a mirror'; exit 100")
	c.program("apt-cache", "exit 0")
	c.program("id", "echo 0")
	c.program("uname", `case $1 in -r) echo 6.12.1-0-virt ;; *) echo x86_64 ;; esac`)
	c.file("usr/libexec/virtiofsd", "")
	c.file("etc/os-release", "ID=debian\n")
	return c
}

// link makes a symbolic link and its directory.
func (c *computer) link(to, path string) {
	c.t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(to, path)); err != nil {
		c.t.Fatal(err)
	}
}

// remove removes programs.
func (c *computer) remove(names ...string) {
	for _, name := range names {
		if err := os.Remove(filepath.Join(c.bin, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.t.Fatal(err)
		}
	}
}

// program makes a program out of shell commands.
func (c *computer) program(name, commands string) {
	c.remove(name)
	if err := write(filepath.Join(c.bin, name), []byte("#!/bin/sh\n"+commands+"\n"), 0o755); err != nil {
		c.t.Fatal(err)
	}
}

// file makes a file below root.
func (c *computer) file(path, text string) {
	if err := write(filepath.Join(c.root, path), []byte(text), 0o755); err != nil {
		c.t.Fatal(err)
	}
}

// like makes this a machine of a distribution without apt. Its kernel is installed.
func (c *computer) like(osRelease string) {
	c.remove("apt-get", "apt-cache")
	c.file("etc/os-release", osRelease)
	c.file("boot/vmlinuz-virt", "")
	c.file("lib/modules/6.12.1-0-virt/modules.dep.bin", "")
}

// run runs a program in the module without a terminal, and returns what it wrote and its exit code.
func (c *computer) run(program string, args ...string) (string, int) {
	c.t.Helper()
	command := exec.CommandContext(c.t.Context(), program, args...)
	command.Dir = c.module
	command.Env = append([]string{
		"PATH=" + c.bin, "HOME=" + c.home, "ARCINIT_MACHINE=" + c.root, "TMPDIR=" + c.t.TempDir(),
		"GOPROXY=http://127.0.0.1:9", "GOFLAGS=", "GOTOOLCHAIN=local", "TERM=xterm",
	}, c.env...)
	// A new session has no terminal for sudo to ask on.
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := command.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.t.Fatalf("%s: %v\n%s", program, err, out)
	}
	return string(out), command.ProcessState.ExitCode()
}

// made returns the files that make has made, other than logs.
func (c *computer) made() []string {
	var files []string
	for _, dir := range []string{filepath.Join(c.module, "build"), filepath.Join(c.home, ".cache"), filepath.Join(c.home, "go")} {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && !strings.Contains(path, "/build/log/") {
				files = append(files, path)
			}
			return nil
		})
	}
	return files
}

// TestMakeRunSaysWhatIsMissing runs make run on machines that lack something. Each time one line says what, before anything is
// downloaded, installed or built.
func TestMakeRunSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	oldGo := func(version, complaint string) string {
		return `case $1 in version) echo go version ` + version + ` linux/amd64 ;; *) echo '` + complaint + `' >&2; exit 1 ;; esac`
	}
	for name, test := range map[string]struct {
		change func(c *computer)
		args   []string
		want   []string
	}{
		"no Go":          {func(c *computer) { c.remove("go") }, nil, []string{"Go", goVersion(t)}},
		"Go before 1.21": {func(c *computer) { c.program("go", oldGo("go1.19.8", "go.mod:3: invalid go version")) }, nil, []string{goVersion(t), "go1.19.8"}},
		"Go of the past": {func(c *computer) { c.program("go", oldGo("go1.24.4", "go: go.mod requires go >= 1.26.0")) }, nil, []string{goVersion(t), "go1.24.4"}},

		"Fedora without packages": {func(c *computer) {
			c.like("ID=nobara\nID_LIKE=\"rhel fedora\"\n")
			c.remove("qemu-system-x86_64", "xz")
		}, nil, []string{"dnf install qemu-system-x86-core xz\n"}},
		"Arch without virtiofsd": {func(c *computer) {
			c.like("ID=arch\n")
			if err := os.Remove(filepath.Join(c.root, "usr/libexec/virtiofsd")); err != nil {
				c.t.Fatal(err)
			}
		}, nil, []string{"pacman -S virtiofsd\n"}},
		"Alpine without packages": {func(c *computer) {
			c.like("ID=alpine\n")
			c.remove("qemu-system-x86_64", "kmod")
		}, nil, []string{"apk add qemu-system-x86_64 kmod\n"}},
		"an unknown distribution": {func(c *computer) {
			c.like("ID=other\n")
			c.remove("qemu-system-x86_64")
		}, nil, []string{"qemu-system-x86_64"}},
		"arm64 on Fedora": {func(c *computer) { c.like("ID=fedora\n") }, []string{"ARCH=arm64"}, []string{"qemu-system-aarch64", "dnf install qemu-system-aarch64-core\n"}},

		"no root and no sudo": {func(c *computer) {
			c.program("id", "echo 1000")
			c.remove("qemu-system-x86_64")
		}, nil, []string{"qemu-system-x86_64", "apt-get install qemu-system-x86"}},
		"sudo with a password": {func(c *computer) {
			c.program("id", "echo 1000")
			c.program("sudo", "echo 'sudo: a password is required' >&2; exit 1")
			c.remove("qemu-system-x86_64")
		}, nil, []string{"password", "sudo apt-get install qemu-system-x86"}},

		"ARCH=riscv64":      {nil, []string{"ARCH=riscv64"}, []string{"riscv64", "amd64", "arm64"}},
		"ARCH=x86_64":       {nil, []string{"ARCH=x86_64"}, []string{"ARCH=amd64"}},
		"ARCH=aarch64":      {nil, []string{"ARCH=aarch64"}, []string{"ARCH=arm64"}},
		"a riscv64 machine": {func(c *computer) { c.program("uname", "echo riscv64") }, nil, []string{"riscv64", "amd64", "arm64"}},

		"no space": {func(c *computer) {
			c.program("df", `echo Filesystem 1024-blocks Used Available Capacity Mounted on; for d; do case $d in -*) ;; *) echo /dev/vda 1000 0 1000 0% / ;; esac; done`)
		}, nil, []string{"space"}},

		"no kernel": {func(c *computer) {
			c.like("ID=alpine\n")
			if err := os.Remove(filepath.Join(c.root, "boot/vmlinuz-virt")); err != nil {
				c.t.Fatal(err)
			}
		}, nil, []string{"KERNEL=", "MODULES="}},
		"KERNEL that is not there": {nil, []string{"KERNEL=/nowhere/vmlinuz"}, []string{"/nowhere/vmlinuz"}},
		"MODULES without an index": {nil, []string{"KERNEL=Makefile", "MODULES=scripts"}, []string{"MODULES=scripts", "depmod"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newComputer(t)
			if test.change != nil {
				test.change(c)
			}
			out, code := c.run("make", append([]string{"run"}, test.args...)...)
			if code == 0 {
				t.Errorf("make run succeeded")
			}
			line := onlyLine(t, out)
			for _, want := range test.want {
				if !strings.Contains(line, want) {
					t.Errorf("the line does not contain %q: %s", want, line)
				}
			}
			if files := c.made(); files != nil {
				t.Errorf("make run made %q", files)
			}
			if _, err := os.Stat(filepath.Join(c.module, "..", installed)); !errors.Is(err, fs.ErrNotExist) {
				t.Error("make run called apt-get")
			}
		})
	}
}

// goVersion returns the version in go.mod.
func goVersion(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if version, ok := strings.CutPrefix(line, "go "); ok {
			return strings.TrimSpace(version)
		}
	}
	t.Fatal("go.mod has no version")
	return ""
}

// onlyLine returns the one line that the output has beside make's own, which say that a recipe failed.
func onlyLine(t *testing.T, out string) string {
	t.Helper()
	lines := slices.DeleteFunc(slices.Collect(strings.Lines(out)), func(line string) bool {
		return strings.HasPrefix(line, "make: ***") || strings.HasPrefix(line, "make[1]: ***")
	})
	if len(lines) != 1 {
		t.Fatalf("make wrote %d lines, want one:\n%s", len(lines), out)
	}
	return lines[0]
}

// TestMakeRunOffline runs make run where neither apt nor Go reaches the network: both fail at about the same time.
func TestMakeRunOffline(t *testing.T) {
	t.Parallel()
	c := newComputer(t)
	out, code := c.run("make", "run")
	if line := onlyLine(t, out); code == 0 || !strings.Contains(line, "network") {
		t.Errorf("exit code %d, %s", code, line)
	}
}

// TestMakeHelp needs no Go, and no history in git.
func TestMakeHelp(t *testing.T) {
	t.Parallel()
	c := newComputer(t)
	want, _ := c.run("make", "help")
	c.remove("go", "git", "apt-get")
	if got, code := c.run("make", "help"); code != 0 || got != want || !strings.Contains(got, "make run") {
		t.Errorf("exit code %d:\n%s", code, got)
	}
	if out, code := c.run("scripts/built.sh"); code != 0 || strings.TrimSpace(out) == "" {
		t.Errorf("the time of the last change: exit code %d, %q", code, out)
	}
}

// TestPart runs parts with and without a terminal.
func TestPart(t *testing.T) {
	t.Parallel()
	c := newComputer(t)
	const good = `. scripts/lib.sh; part "the label" sh -c "echo details; echo dlstatus:1:60.5:x; sleep 1"`
	const bad = `. scripts/lib.sh; part "the label" sh -c "echo reason; exit 3"; echo continued`
	onTerminal := func(script string) []string { return []string{"-qec", "bash -c '" + script + "'", "/dev/null"} }
	for name, test := range map[string]struct {
		program       string
		args, env     []string
		has, hasNot   []string
		wantedFailure bool
	}{
		"no terminal":         {"bash", []string{"-c", good}, nil, []string{"the label"}, []string{"\x1b", "\r", "details", "60"}, false},
		"terminal":            {"script", onTerminal(good), nil, []string{"the label", "60 %", "\r\x1b[K", "\x1b[2m"}, []string{"details"}, false},
		"without colour":      {"script", onTerminal(good), []string{"NO_COLOR=1"}, []string{"60 %", "\r\x1b[K"}, []string{"\x1b[2m", "\x1b[0m"}, false},
		"dumb terminal":       {"script", onTerminal(good), []string{"TERM=dumb"}, []string{"the label"}, []string{"\x1b", "60 %"}, false},
		"failure":             {"bash", []string{"-c", bad}, nil, []string{"the label", "reason", "build/log/the-label.log"}, []string{"\x1b", "continued"}, true},
		"failure on terminal": {"script", onTerminal(bad), nil, []string{"reason", "build/log/the-label.log"}, []string{"continued"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			c.t, c.env = t, test.env
			out, code := c.run(test.program, test.args...)
			if (code != 0) != test.wantedFailure {
				t.Errorf("exit code %d", code)
			}
			for _, text := range test.has {
				if !strings.Contains(out, text) {
					t.Errorf("the output does not contain %q:\n%q", text, out)
				}
			}
			for _, text := range test.hasNot {
				if strings.Contains(out, text) {
					t.Errorf("the output contains %q:\n%q", text, out)
				}
			}
		})
	}
}

// TestMachineKernel finds a distribution's own kernel and its modules.
func TestMachineKernel(t *testing.T) {
	t.Parallel()
	for name, kernel := range map[string]string{
		"Fedora and Arch":           "lib/modules/6.12.1-0-virt/vmlinuz",
		"Alpine":                    "boot/vmlinuz-virt",
		"a container with a kernel": "lib/modules/6.1/vmlinuz",
	} {
		t.Run(name, func(t *testing.T) {
			c := newComputer(t)
			modules := "lib/modules/6.12.1-0-virt"
			if filepath.Base(kernel) == "vmlinuz" {
				modules = filepath.Dir(kernel)
			}
			c.file(kernel, "")
			c.file(modules+"/modules.dep.bin", "")
			out, code := c.run("scripts/machine-kernel.sh")
			if want := c.root + "/" + kernel + " " + c.root + "/" + modules + "\n"; code != 0 || out != want {
				t.Errorf("exit code %d, %q, want %q", code, out, want)
			}
		})
	}
}

func TestWithoutKVM(t *testing.T) {
	for err, want := range map[error]string{fs.ErrNotExist: "virtualization", fs.ErrPermission: "-aG kvm", syscall.EBUSY: syscall.EBUSY.Error()} {
		if got := withoutKVM(&fs.PathError{Op: "open", Path: "/dev/kvm", Err: err}); !strings.Contains(got, want) || strings.Contains(got, "\n") {
			t.Errorf("%v: %q does not contain %q", err, got, want)
		}
	}
}
