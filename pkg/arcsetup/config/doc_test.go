package config

import (
	"cmp"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/arcinit/arcinit/vmtests/pages"
)

const repository = "../../.."

func readDoc(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestKeysInDoc compares the keys of the files with those that the users read of, and the types. A default of the page, written into a file,
// must change nothing.
func TestKeysInDoc(t *testing.T) {
	doc := readDoc(t, "docs/config.md")
	keys := map[string]string{}
	keysOf("", reflect.TypeFor[file](), keys)
	delete(keys, "docker.daemon")
	for key, kind := range keys {
		if n := strings.Count(doc, "\n| `"+key+"` | "+kind+" | "); n != 1 {
			t.Errorf("docs/config.md has %d rows | `%s` | %s |", n, key, kind)
		}
	}
	// An entry of each list, to which a key can be added. An interval needs a burst.
	entries := map[string]string{
		"":              "agent.start_limit.burst = 3\n",
		"service[]":     "[[service]]\nname = \"a\"\nargv = [\"/a\"]\nstart_limit.burst = 3\n",
		"share[]":       "[[share]]\ntag = \"a\"\npath = \"/mnt/a\"\n",
		"tmpfs[]":       "[[tmpfs]]\npath = \"/mnt/a\"\n",
		"disk[]":        "[[disk]]\ndevice = \"/dev/a\"\npath = \"/mnt/a\"\n",
		"binfmt[]":      "[[binfmt]]\nname = \"a\"\ninterpreter = \"/a\"\nmagic = 'a'\n",
		"network.nic[]": "[[network.nic]]\nnic = \"a\"\nrole = \"off\"\n",
	}
	defaults := 0
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z0-9_.\\[\\]]+)` \\| (text|number|true or false|list|table) \\| ([^|]*) \\|").FindAllStringSubmatch(doc, -1) {
		key, standard := row[1], strings.Trim(row[3], "`")
		if keys[key] == "" {
			t.Errorf("docs/config.md has a row for %s, which no file can set", key)
		}
		if !regexp.MustCompile("^(`[\"\\[]|true|false|[0-9])").MatchString(row[3]) {
			continue // a default in words
		}
		defaults++
		entry, text := entries[""], key+" = "+standard+"\n"
		if list, inList, ok := strings.Cut(key, "[]."); ok {
			entry = entries[list+"[]"]
			text = inList + " = " + standard + "\n"
		}
		if without, with := load(t, entry), load(t, entry+text); !reflect.DeepEqual(without, with) {
			t.Errorf("docs/config.md says that %s is %s by default, but to set it changes the configuration:\n%+v\n%+v", key, standard, without, with)
		}
	}
	if defaults < 20 {
		t.Errorf("only %d defaults were compared", defaults)
	}
}

// load returns the configuration that an image's file leads to, without what only says how it was spelled.
func load(t *testing.T, text string) Config {
	t.Helper()
	c, err := Load(nil, files{ImageFile: text}.read)
	if err != nil {
		t.Errorf("%v\n%s", err, text)
	}
	c.From = nil
	for i := range c.Services {
		c.Services[i].GraceText, c.Services[i].StartLimit.Text = "", ""
	}
	c.Agent.GraceText, c.Agent.StartLimit.Text = "", ""
	for _, mounts := range []any{c.Shares, c.Tmpfs, c.Disks} {
		for i := range reflect.ValueOf(mounts).Len() {
			entry := reflect.ValueOf(mounts).Index(i)
			entry.FieldByName("Enabled").SetZero()
			if wait := entry.FieldByName("WaitText"); wait.IsValid() {
				wait.SetZero()
			}
		}
	}
	return c
}

// TestParametersInDoc compares the parameters of the kernel command line with those that the users read of.
func TestParametersInDoc(t *testing.T) {
	doc := readDoc(t, "docs/config.md")
	rows := strings.Join(regexp.MustCompile("(?m)^\\| `arcbox\\..*$").FindAllString(doc, -1), "\n")
	known := map[string]bool{}
	c := Default()
	for _, s := range c.settings(&file{}) {
		if s.parameter == "" {
			continue
		}
		known[s.parameter] = true
		if !regexp.MustCompile("`" + s.parameter + "[=`]").MatchString(rows) {
			t.Errorf("docs/config.md has no row for %s", s.parameter)
		}
	}
	for _, parameter := range regexp.MustCompile("`(arcbox\\.[a-z_]+)").FindAllStringSubmatch(rows, -1) {
		if !known[parameter[1]] {
			t.Errorf("docs/config.md has a row for %s, which the command line cannot set", parameter[1])
		}
	}
}

// TestDocumentedFiles loads each TOML example of the pages, and each arcinit.toml of the examples: nothing in them is refused.
func TestDocumentedFiles(t *testing.T) {
	examples := 0
	try := func(path, text string) {
		examples++
		// The image's file may set everything; what is the host's alone may be in both.
		if _, err := Load(nil, files{ImageFile: text}.read); err != nil {
			t.Errorf("%s: %v\n%s", path, err, text)
		}
	}
	all, err := pages.Read(repository)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		for _, block := range p.Blocks("toml") {
			try(p.Path, block)
		}
	}
	paths, err := filepath.Glob(repository + "/examples/*/arcinit.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		try(path, readDoc(t, strings.TrimPrefix(path, repository)))
	}
	if examples < 10 || len(paths) == 0 {
		t.Errorf("only %d examples, %d of them files", examples, len(paths))
	}
}

// keysOf adds the keys of a struct of a file, with the kind of value that each takes.
func keysOf(prefix string, of reflect.Type, keys map[string]string) {
	for field := range of.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("toml"), ",")
		if name == "-" || !field.IsExported() {
			continue
		}
		name = prefix + cmp.Or(name, strings.ToLower(field.Name))
		kind := field.Type
		for kind.Kind() == reflect.Pointer {
			kind = kind.Elem()
		}
		switch kind.Kind() {
		case reflect.Struct:
			if field.Anonymous {
				keysOf(prefix, kind, keys)
			} else {
				keysOf(name+".", kind, keys)
			}
		case reflect.Slice:
			if kind.Elem().Kind() == reflect.Struct {
				keysOf(strings.TrimSuffix(name, ".")+"[].", kind.Elem(), keys)
			} else if kind.Elem().Kind() != reflect.Uint8 {
				keys[name] = "list"
			}
		case reflect.Map:
			keys[name] = "table"
		case reflect.Bool:
			keys[name] = "true or false"
		case reflect.String:
			keys[name] = "text"
		default:
			keys[name] = "number"
		}
	}
}
