// Package pages reads README and the pages of docs and examples, for the tests that try what is in them.
package pages

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Page is a Markdown file of the repository.
type Page struct {
	Path, Text string
}

// Read returns the pages of the repository whose root is dir.
func Read(dir string) (pages []Page, err error) {
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() && path != dir && (name == "build" || name == "testdata" || strings.HasPrefix(name, ".")) {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".md" {
			return nil
		}
		text, err := os.ReadFile(path)
		pages = append(pages, Page{path, string(text)})
		return err
	})
	return pages, err
}

// Blocks returns the page's blocks of a language: sh, toml.
func (p Page) Blocks(language string) (blocks []string) {
	for _, block := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(p.Text, -1) {
		blocks = append(blocks, block[1])
	}
	return blocks
}

// Commands returns the commands of the blocks of sh without their comments, one for each line. A line that ends in a backslash goes on.
func (p Page) Commands() (commands []string) {
	comment := regexp.MustCompile(`(^|\s+)#.*`)
	for _, script := range p.Blocks("sh") {
		for line := range strings.Lines(strings.ReplaceAll(script, "\\\n", " ")) {
			if line = comment.ReplaceAllString(strings.TrimSpace(line), ""); line != "" {
				commands = append(commands, line)
			}
		}
	}
	return commands
}

// Spans returns the page's code spans, outside of blocks.
func (p Page) Spans() (spans []string) {
	text := regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(p.Text, "")
	for _, span := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(text, -1) {
		spans = append(spans, strings.Join(strings.Fields(span[1]), " "))
	}
	return spans
}
