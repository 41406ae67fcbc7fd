package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/arcinit/arcinit/vmtests/pages"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// subcommands returns the words that follow a program's name in the usage text of its source.
func subcommands(t *testing.T, program, source string) (words []string) {
	for _, m := range regexp.MustCompile(`(?m)[ \x60]`+program+` ([a-z]+)`).FindAllStringSubmatch(read(t, source), -1) {
		words = append(words, m[1])
	}
	return words
}

// targets returns the targets that a person, or another make, calls.
func targets(makefile string) []string {
	return strings.Fields(regexp.MustCompile(`(?m)^\.PHONY: (.*)$`).FindStringSubmatch(makefile)[1])
}

// TestCommandsExist: what the pages call by make, uinit or arcinit exists. vmtests.TestDocumentedCommands runs the commands of blocks.
func TestCommandsExist(t *testing.T) {
	makefile := read(t, "../Makefile")
	known := map[string][]string{
		"make":    targets(makefile),
		"uinit":   append(subcommands(t, "uinit", "../pkg/uinit/uinit_linux.go"), "netd", "modprobe"),
		"arcinit": subcommands(t, "arcinit", "../cmd/arcinit/main.go"),
	}
	all, err := pages.Read("..")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, p := range all {
		for _, command := range append(p.Spans(), p.Commands()...) {
			words := strings.Fields(command)
			for len(words) > 0 && regexp.MustCompile(`^[A-Z]+=`).MatchString(words[0]) {
				words = words[1:] // a variable
			}
			// Some spans are messages, which go on with words.
			if len(words) > 2 && regexp.MustCompile(`^[a-z]+$`).MatchString(words[2]) && !slices.Contains(known[words[0]], words[2]) {
				continue
			}
			if len(words) < 2 || known[words[0]] == nil || strings.Contains(words[1], "=") {
				continue
			}
			found++
			if word := strings.TrimRight(words[1], ".,"); !slices.Contains(known[words[0]], word) && !makesFile(makefile, words) {
				t.Errorf("%s has the command %q, but %s has no %s", p.Path, command, words[0], word)
			}
		}
	}
	if found < 50 {
		t.Errorf("only %d commands were found", found)
	}
}

// makesFile reports whether the words are a make command for a file of the build directory.
func makesFile(makefile string, words []string) bool {
	return words[0] == "make" && strings.HasPrefix(words[1], "build/") && strings.Contains(makefile, filepath.Base(words[1]))
}

// TestTargetsHaveHelp: `make help` names each target that a person calls.
func TestTargetsHaveHelp(t *testing.T) {
	makefile := read(t, "../Makefile")
	help, _, _ := strings.Cut(makefile, "\n\n")
	inner := strings.Fields("help prepare prepare-shell need-guests packages images bench-measure force matrix unit") // which others call, or the text explains
	for _, target := range targets(makefile) {
		if !regexp.MustCompile(`make `+target+`\b`).MatchString(help) && !slices.Contains(inner, target) {
			t.Errorf("make help does not name %s", target)
		}
	}
}

// TestLinks: each link within the repository leads to a file, and to a heading in it.
func TestLinks(t *testing.T) {
	all, err := pages.Read("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		for _, link := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(p.Text, -1) {
			if strings.Contains(link[1], "://") {
				continue
			}
			file, heading, _ := strings.Cut(link[1], "#")
			target := p.Path
			if file != "" {
				target = filepath.Join(filepath.Dir(p.Path), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %v", p.Path, err)
			} else if heading != "" && !slices.Contains(headings(read(t, target)), heading) {
				t.Errorf("%s links to %s, which has no such heading", p.Path, link[1])
			}
		}
	}
}

// headings returns the names by which links call a page's headings.
func headings(page string) (names []string) {
	for _, h := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		name := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(h[1]), "")
		names = append(names, strings.ReplaceAll(name, " ", "-"))
	}
	return names
}

// TestReadmeIsShort: README is two screens, and names each page.
func TestReadmeIsShort(t *testing.T) {
	readme := read(t, "../README.md")
	for _, rows := range regexp.MustCompile(`\b(\d+) of (\d+) \|`).FindAllStringSubmatch(read(t, "matrix.md"), -1) {
		if !strings.Contains(readme, "all "+rows[2]+" rows") {
			t.Errorf("README.md does not speak of all %s rows of matrix.md", rows[2])
		}
	}
	if lines := strings.Count(readme, "\n"); lines > 120 {
		t.Errorf("README.md has %d lines, more than 120", lines)
	}
	files, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !strings.Contains(readme, "(docs/"+file) {
			t.Errorf("README.md does not link to docs/%s", file)
		}
	}
}
