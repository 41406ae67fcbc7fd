package arcsetup

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

func TestMissingAttributes(t *testing.T) {
	for index, want := range map[string][]attribute{
		"index0": {{"size", "64K\n"}, {"coherency_line_size", "64\n"}, {"number_of_sets", "256\n"}},
		"index1": {{"size", "64K\n"}, {"coherency_line_size", "64\n"}, {"number_of_sets", "256\n"}},
		"index2": {{"size", "1024K\n"}, {"coherency_line_size", "64\n"}, {"number_of_sets", "2048\n"}},
		"index3": {{"size", "8192K\n"}, {"coherency_line_size", "64\n"}, {"number_of_sets", "8192\n"}},
	} {
		dir := filepath.Join(t.TempDir(), index)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if got := missingAttributes(dir); !reflect.DeepEqual(got, want) {
			t.Errorf("%s without attributes lacks %v, want %v", index, got, want)
		}
		if err := os.WriteFile(filepath.Join(dir, "coherency_line_size"), []byte("128\n"), 0o444); err != nil {
			t.Fatal(err)
		}
		if got, want := missingAttributes(dir), []attribute{want[0], want[2]}; !reflect.DeepEqual(got, want) {
			t.Errorf("%s with one lacks %v, want %v", index, got, want)
		}
	}
}

func TestCompleteCachesAreLeftAlone(t *testing.T) {
	g := newGuest(t, nil)
	if got := outcome(g.cache); got.Outcome != plan.Unavailable {
		t.Errorf("without caches: %+v", got)
	}
	files := map[string]string{}
	for _, name := range []string{"size", "coherency_line_size", "number_of_sets", "level"} {
		files[cachesPath+"/index0/"+name] = "1\n"
	}
	g = newGuest(t, files)
	if changed, err := g.cache(); changed || err != nil {
		t.Errorf("a complete cache: %v, %v", changed, err)
	}
	if _, err := os.Stat(g.path(filledCaches)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is there: %v", filledCaches, err)
	}
}

func TestReadAttributes(t *testing.T) {
	g := newGuest(t, map[string]string{"/cache/level": "1\n", "/cache/uevent": "", "/cache/secret": "x\n", "/cache/power/control": "auto\n"})
	if err := os.Chmod(g.path("/cache/secret"), 0o200); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../nowhere", g.path("/cache/subsystem")); err != nil {
		t.Fatal(err)
	}
	got, err := readAttributes(g.path("/cache"))
	if want := []attribute{{"level", "1\n"}, {"uevent", ""}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %v, %v, want %v", got, err, want)
	}
}
