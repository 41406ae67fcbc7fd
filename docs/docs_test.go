// Package docs_test compares pages with the code that they describe.
package docs_test

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestTroubleshooting compares troubleshooting.md with the source of cmd, internal and pkg, for every platform and without tests:
//   - The page has every message that is logged at notice level or above, which is what a quiet console shows.
//   - The page has every error text (errors.New, fmt.Errorf) of two words or more; shorter ones only join others. Two packages are left
//     out, in which each text names the key of a file and says what was expected.
//   - Every message of the page is in the source, at any level and for any output.
//   - The page's table of steps has each step of the plan, once.
//
// On the page a word in CAPITALS stands for each part that varies, and the error that a text wraps at its end (": %w") is left out. The
// errors of the kernel, Go's library and other modules come there. The test does not know them.
func TestTroubleshooting(t *testing.T) {
	source := source{t: t, texts: map[string]bool{}, required: map[string]token.Position{}}
	for _, dir := range []string{"../cmd", "../internal", "../pkg"} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
				source.read(path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	page, err := os.ReadFile("troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	messages, steps := firstColumn(string(page), "message"), firstColumn(string(page), "step")
	known := map[string]bool{}
	for pattern := range source.texts {
		matching := regexp.MustCompile("^(?:" + pattern + ")$")
		found := false
		for _, message := range messages {
			if matching.MatchString(message) {
				found, known[message] = true, true
			}
		}
		if place, required := source.required[pattern]; required && !found {
			t.Errorf("%s: troubleshooting.md does not have the message %s", place, pattern)
		}
	}
	for _, message := range messages {
		if !known[message] {
			t.Errorf("the source does not have the message %q of troubleshooting.md", message)
		}
	}
	slices.Sort(source.steps)
	if slices.Sort(steps); !slices.Equal(steps, source.steps) || steps == nil {
		t.Errorf("troubleshooting.md has the steps %q, the plan has %q", steps, source.steps)
	}
}

// firstColumn returns what is in backquotes in the first column of the tables with this heading.
func firstColumn(page, heading string) (found []string) {
	inTable := false
	for line := range strings.Lines(page) {
		cell, isRow := strings.CutPrefix(line, "| ")
		cell, _, _ = strings.Cut(cell, " |")
		if inTable = strings.HasPrefix(line, "|") && (inTable || isRow && cell == heading); inTable {
			for i, part := range strings.Split(cell, "`") {
				if i%2 == 1 {
					found = append(found, part)
				}
			}
		}
	}
	return found
}

// source is what the source can say, as patterns of messages of the page.
type source struct {
	t        *testing.T
	texts    map[string]bool
	required map[string]token.Position // those that the page has to have
	steps    []string
}

// read adds the texts and the steps of a file.
func (s *source) read(path string) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
	if err != nil {
		s.t.Fatal(err)
	}
	namesKeys := slices.Contains([]string{"../pkg/arcsetup/config", "../internal/binfmt"}, filepath.ToSlash(filepath.Dir(path)))
	assigned := map[string][]ast.Expr{} // to the variables of the file
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for i, left := range n.Lhs {
				if name, ok := left.(*ast.Ident); ok && len(n.Lhs) == len(n.Rhs) {
					assigned[name.Name] = append(assigned[name.Name], n.Rhs[i])
				}
			}
		case *ast.BasicLit, *ast.BinaryExpr:
			if pattern := patternOf(n.(ast.Expr)); words(pattern) > 0 {
				s.texts[pattern] = true
			}
		case *ast.CompositeLit: // of a step, if it has both fields
			fields := map[string]ast.Expr{}
			for _, element := range n.Elts {
				if field, ok := element.(*ast.KeyValueExpr); ok {
					fields[types.ExprString(field.Key)] = field.Value
				}
			}
			if fields["Name"] != nil && fields["Run"] != nil {
				s.steps = append(s.steps, textOf(fields["Name"]))
			}
		}
		message, isError := messageOf(n)
		if message == nil || isError && namesKeys {
			return true
		}
		said := []ast.Expr{message}
		if name, ok := message.(*ast.Ident); ok && assigned[name.Name] != nil {
			said = assigned[name.Name]
		}
		for _, text := range said {
			if pattern := patternOf(text); textOf(text) == "" {
				s.t.Errorf("%s: this test cannot read the message", files.Position(n.Pos()))
			} else if !isError || words(pattern) > 1 {
				s.required[pattern] = files.Position(n.Pos())
			}
		}
		return true
	})
}

// messageOf returns the message of a call that logs at notice level or above, or the text of a call that makes an error, else nil.
func messageOf(n ast.Node) (message ast.Expr, isError bool) {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return nil, false
	}
	function := types.ExprString(call.Fun)
	isError = function == "errors.New" || function == "fmt.Errorf"
	name := function[strings.LastIndex(function, ".")+1:]
	at, logs := map[string]int{"Warn": 0, "Error": 0, "WarnContext": 1, "ErrorContext": 1, "Log": 2, "LogAttrs": 2}[name]
	if !logs && !isError || len(call.Args) <= at ||
		at == 2 && slices.Contains([]string{"slog.LevelDebug", "slog.LevelInfo"}, types.ExprString(call.Args[1])) {
		return nil, false
	}
	return call.Args[at], isError
}

// patternOf returns the pattern of a text.
func patternOf(e ast.Expr) string {
	text, _, _ := strings.Cut(strings.TrimSpace(textOf(e)), "\n")
	text = strings.TrimSuffix(strings.TrimSuffix(text, ": %w"), ":")
	parts := regexp.MustCompile(`%[-+#.0-9]*[a-z]`).Split(text, -1)
	for i, part := range parts {
		parts[i] = regexp.QuoteMeta(strings.ToValidUTF8(part, ""))
	}
	return strings.Join(parts, `"?[A-Z][A-Z0-9]*"?`)
}

// words counts the words of a pattern, which do not vary.
func words(pattern string) int {
	return len(regexp.MustCompile(`\S*[[:alpha:]]{2}\S*`).FindAllString(pattern, -1))
}

// textOf returns the text of a string, or of a sum with a string, in which %v stands for what is not constant; else "".
func textOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if text, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
			return text
		}
	case *ast.BinaryExpr:
		if left, right := textOf(e.X), textOf(e.Y); e.Op == token.ADD && left+right != "" {
			return cmp.Or(left, "%v") + cmp.Or(right, "%v")
		}
	}
	return ""
}
