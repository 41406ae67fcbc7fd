package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// keep writes value as JSON, as a guest keeps its reports.
func keep(t *testing.T, name string, value any) string {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return file(t, name, string(data))
}

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func call(args ...string) (string, error) {
	var out strings.Builder
	err := run(args, &out)
	return out.String(), err
}

func TestReport(t *testing.T) {
	b, n := boot()
	bootPath, netPath := keep(t, "boot.json", b), keep(t, "net.json", n)
	alone, err := call("report", bootPath)
	if err != nil {
		t.Fatal(err)
	}
	both, err := call("report", bootPath, netPath)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"b<&", "agent"} {
		if !strings.Contains(alone, name) {
			t.Errorf("the report does not name %s:\n%s", name, alone)
		}
	}
	if network, ok := strings.CutPrefix(both, alone); !ok || !strings.Contains(network, "eth0") || strings.Contains(alone, "eth0") {
		t.Errorf("the network does not follow the boot:\n%s", both)
	}
}

func TestPlot(t *testing.T) {
	b, n := boot()
	bootPath, netPath := keep(t, "boot.json", b), keep(t, "net.json", n)
	for _, args := range [][]string{{"plot", file(t, "empty.json", "{}")}, {"plot", bootPath}, {"plot", bootPath, netPath}} {
		out, err := call(args...)
		if err != nil {
			t.Fatal(err)
		}
		var svg struct{ XMLName xml.Name }
		if err := xml.Unmarshal([]byte(out), &svg); err != nil || svg.XMLName.Local != "svg" {
			t.Errorf("%v: %v, root %q", args, err, svg.XMLName.Local)
		}
		if has := strings.Contains(out, ">eth0<"); has != (len(args) == 3) {
			t.Errorf("%v: the picture has the network: %v", args, has)
		}
	}
}

func TestCheck(t *testing.T) {
	good, bad := file(t, "good.toml", "hostname = \"guest\"\n"), file(t, "bad.toml", "\nlog = \"loud\"\n")
	if out, err := call("check", good); err != nil || !strings.Contains(out, good) {
		t.Errorf("%q, %v", out, err)
	}
	image := file(t, "image.toml", "[host]\nallow = []\n")
	if out, err := call("check", image, good); err == nil || !strings.Contains(err.Error(), good) || strings.Contains(out, "hostname") {
		t.Errorf("a host that may set nothing: %q, %v", out, err)
	}
	if _, err := call("check", filepath.Join(t.TempDir(), "missing"), good); err == nil {
		t.Error("no error of a missing image's file")
	}
	if _, err := call("check", bad); err == nil || !strings.Contains(err.Error(), bad) || strings.Contains(err.Error(), usage) {
		t.Errorf("an unknown log level: %v", err)
	}
}

func TestUnreadableFiles(t *testing.T) {
	missing, damaged := filepath.Join(t.TempDir(), "missing"), file(t, "damaged.json", "{")
	for _, command := range []string{"report", "plot", "check"} {
		if _, err := call(command, missing); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s of a missing file: %v", command, err)
		}
		if out, err := call(command, damaged); err == nil || out != "" {
			t.Errorf("%s of a damaged file: %q, %v", command, out, err)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"draw"}, {"report"}, {"report", "a", "b", "c"}, {"plot"}, {"plot", "a", "b", "c"}, {"check"}, {"check", "a", "b", "c"}, {"version", "a"}} {
		if out, err := call(args...); err == nil || !strings.Contains(err.Error(), usage) || out != "" {
			t.Errorf("%q: %q, %v", args, out, err)
		}
	}
	for _, args := range [][]string{{"version"}, {"help"}, {"--help"}} {
		if out, err := call(args...); err != nil || out == "" {
			t.Errorf("%q: %q, %v", args, out, err)
		}
	}
}
