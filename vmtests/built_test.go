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

// TestBuildTime runs scripts/built.sh in a repository, in a clone and without git.
func TestBuildTime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	repository, clone := filepath.Join(dir, "repository"), filepath.Join(dir, "clone")
	run := func(in string, env []string, program string, args ...string) (string, error) {
		cmd := exec.Command(program, args...)
		cmd.Dir = in
		// Drop this process's own git variables and SOURCE_DATE_EPOCH.
		for _, v := range os.Environ() {
			if !strings.HasPrefix(v, "GIT_") && !strings.HasPrefix(v, "SOURCE_DATE_EPOCH=") {
				cmd.Env = append(cmd.Env, v)
			}
		}
		cmd.Env = append(cmd.Env, env...)
		out, err := cmd.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	must := func(in string, env []string, program string, args ...string) string {
		t.Helper()
		out, err := run(in, env, program, args...)
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", program, args, err, out)
		}
		return out
	}
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(repository, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	commit := func(seconds string) {
		t.Helper()
		must(repository, nil, "git", "add", "-A")
		must(repository, []string{"GIT_COMMITTER_DATE=@" + seconds + " +0200", "GIT_AUTHOR_DATE=@1 +0000"},
			"git", "-c", "user.name=t", "-c", "user.email=t", "-c", "commit.gpgsign=false", "commit", "-q", "-m", "c")
	}

	for _, path := range []string{"go.mod", "go.sum", "cmd/main.go", "internal/i.go", "pkg/p.go"} {
		write(path, "")
	}
	if out, err := exec.Command("cp", "-a", "../scripts", repository).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	must(repository, nil, "git", "init", "-q")
	commit("1500000000")
	write("pkg/p.go", "package p\n")
	commit("1600000000")
	write("README.md", "")
	commit("1700000000")
	must(dir, nil, "git", "clone", "-q", repository, clone)
	for _, in := range []string{repository, clone} {
		if got := must(in, nil, "scripts/built.sh"); got != "1600000000" {
			t.Errorf("%s says %s, want the time of the last commit that touched the sources, 1600000000", filepath.Base(in), got)
		}
	}
	if got := must(clone, []string{"SOURCE_DATE_EPOCH=1234567890"}, "scripts/built.sh"); got != "1234567890" {
		t.Errorf("with SOURCE_DATE_EPOCH=1234567890: %s", got)
	}
	if out, err := run(clone, []string{"SOURCE_DATE_EPOCH=today"}, "scripts/built.sh"); err == nil || !strings.Contains(out, "today") {
		t.Errorf("with SOURCE_DATE_EPOCH=today: %q, %v", out, err)
	}

	if err := os.RemoveAll(filepath.Join(clone, ".git")); err != nil {
		t.Fatal(err)
	}
	newest := time.Now().Add(time.Hour).Truncate(time.Second)
	if err := os.Chtimes(filepath.Join(clone, "go.sum"), newest, newest); err != nil {
		t.Fatal(err)
	}
	// Git also searches the parent directories.
	noGit := []string{"GIT_CEILING_DIRECTORIES=" + dir}
	if got := must(clone, noGit, "scripts/built.sh"); got != fmt.Sprint(newest.Unix()) {
		t.Errorf("without git: %s, want the newest file's, %d", got, newest.Unix())
	}
}
