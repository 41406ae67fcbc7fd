package vmtests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sources is a repository with a copy of the scripts, in which tests run them.
type sources struct {
	*testing.T
	dir string
}

// run runs a program in the repository.
func (s sources) run(env []string, program string, args ...string) (string, error) {
	cmd := exec.Command(program, args...)
	cmd.Dir = s.dir
	// Drop what this process's own environment says of git and of the sources. Git also searches the parent directories.
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); !strings.HasPrefix(name, "GIT_") && name != "SOURCE_DATE_EPOCH" && name != "ARCINIT_VERSION" {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(append(cmd.Env, "GIT_CEILING_DIRECTORIES="+filepath.Dir(s.dir)), env...)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (s sources) must(env []string, program string, args ...string) string {
	s.Helper()
	out, err := s.run(env, program, args...)
	if err != nil {
		s.Fatalf("%s %v: %v\n%s", program, args, err, out)
	}
	return out
}

func (s sources) write(path, text string) {
	s.Helper()
	path = filepath.Join(s.dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		s.Fatal(err)
	}
}

// commit commits everything at a time, and returns the start of the commit's name.
func (s sources) commit(seconds string) string {
	s.Helper()
	s.must(nil, "git", "add", "-A")
	s.must([]string{"GIT_COMMITTER_DATE=@" + seconds + " +0200", "GIT_AUTHOR_DATE=@1 +0000"},
		"git", "-c", "user.name=t", "-c", "user.email=t", "-c", "commit.gpgsign=false", "commit", "-q", "-m", "c")
	return s.must(nil, "git", "rev-parse", "--short=12", "HEAD")
}

func (s sources) clone(options ...string) sources {
	s.Helper()
	dir := filepath.Join(s.TempDir(), "clone")
	s.must(nil, "git", append(append([]string{"clone", "-q"}, options...), "file://"+s.dir, dir)...)
	return sources{s.T, dir}
}

// built checks what scripts/built.sh prints.
func (s sources) built(want string, env ...string) {
	s.Helper()
	if got, err := s.run(env, "scripts/built.sh"); err != nil || got != want {
		s.Errorf("with %q: %q, %v, want %q", env, got, err, want)
	}
}

func newSources(t *testing.T) sources {
	s := sources{t, filepath.Join(t.TempDir(), "repository")}
	for _, path := range []string{"go.mod", "go.sum", "LICENSE", "cmd/main.go", "internal/i.go", "kernel-config/common", "pkg/p.go"} {
		s.write(path, "")
	}
	if out, err := exec.Command("cp", "-a", "../scripts", s.dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s.must(nil, "git", "init", "-q")
	s.commit("1500000000")
	s.write("pkg/p.go", "package p\n")
	s.commit("1600000000")
	s.write("README.md", "")
	s.commit("1700000000")
	return s
}

// TestBuilt runs scripts/built.sh in a repository, in clones and without git. Only changes to the sources change what it prints.
func TestBuilt(t *testing.T) {
	t.Parallel()
	s := newSources(t)
	const untagged = "1600000000 devel-20200913122640"
	s.built(untagged)
	s.clone().built(untagged)
	s.built("1234567890 devel-20090213233130", "SOURCE_DATE_EPOCH=1234567890")
	s.built("1600000000 4.5.6", "ARCINIT_VERSION=4.5.6")
	for _, env := range []string{"SOURCE_DATE_EPOCH=today", "ARCINIT_VERSION=1 2"} {
		if out, err := s.run([]string{env}, "scripts/built.sh"); err == nil {
			t.Errorf("with %s: %s", env, out)
		}
	}

	s.must(nil, "git", "tag", "other")
	s.built(untagged)
	s.must(nil, "git", "tag", "v1.2.3")
	s.built("1600000000 1.2.3")
	s.write("README.md", "text")
	s.built("1600000000 1.2.3")
	s.commit("1700000001")
	s.built("1600000000 1.2.3")
	s.write("kernel-config/common", "CONFIG_X=y")
	s.built("1600000000 1.2.3-dirty")
	name := s.commit("1700000002")
	s.built("1700000002 1.2.3-1-g" + name)
	s.write("pkg/new.go", "package p\n")
	s.built("1700000002 1.2.3-1-g" + name + "-dirty")
	name = s.commit("1700000003")
	s.write("README.md", "more")
	s.commit("1700000004")
	s.built("1700000003 1.2.3-2-g" + name)
	s.clone().built("1700000003 1.2.3-2-g" + name)
	// The last commit is all that this clone knows.
	s.clone("--depth=1").built("1700000004 devel-20231114221324")
	s.must(nil, "git", "-c", "user.name=t", "-c", "user.email=t", "tag", "-a", "-m", "m", "v1.3.0-rc.1")
	s.clone("--depth=1").built("1700000004 1.3.0-rc.1")
}

// TestBuiltWithoutGit has the sources of an archive.
func TestBuiltWithoutGit(t *testing.T) {
	t.Parallel()
	s := newSources(t)
	if err := os.RemoveAll(filepath.Join(s.dir, ".git")); err != nil {
		t.Fatal(err)
	}
	newest := time.Now().Add(time.Hour).Truncate(time.Second).UTC()
	if err := os.Chtimes(filepath.Join(s.dir, "go.sum"), newest, newest); err != nil {
		t.Fatal(err)
	}
	s.built(fmt.Sprint(newest.Unix(), " devel-", newest.Format("20060102150405")))
}
