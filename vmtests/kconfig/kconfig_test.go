package kconfig

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fragments are what an architecture's kernel is built from.
func fragments(t *testing.T, arch string) Config {
	t.Helper()
	var text strings.Builder
	for _, name := range []string{"common", arch} {
		fragment, err := os.ReadFile(filepath.Join("..", "..", "kernel-config", name))
		if err != nil {
			t.Fatal(err)
		}
		text.Write(fragment)
	}
	return Parse(text.String())
}

// TestFragmentsMeetMoby has the fragments themselves ask for all of the list, so that nothing of it is there by the grace of
// another symbol, and the documentation say so.
func TestFragmentsMeetMoby(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "kernel.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		t.Run(arch, func(t *testing.T) {
			table, wrong := Check(fragments(t, arch))
			t.Log("\n" + table)
			for _, w := range wrong {
				t.Error(w)
			}
			if !strings.Contains(string(doc), table) {
				t.Error("docs/kernel.md has another table")
			}
		})
	}
}

// TestFragmentsAreInOnePlace has no symbol be said twice, and none be a module.
func TestFragmentsAreInOnePlace(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		in := map[string]string{}
		for _, name := range []string{"common", arch} {
			text, err := os.ReadFile(filepath.Join("..", "..", "kernel-config", name))
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(text)) {
				line = strings.TrimSpace(line)
				symbol, value, _ := strings.Cut(line, "=")
				if rest, ok := strings.CutSuffix(line, " is not set"); ok {
					symbol = strings.TrimPrefix(rest, "# ")
				}
				if !strings.HasPrefix(symbol, "CONFIG_") {
					continue
				}
				if other, ok := in[symbol]; ok {
					t.Errorf("%s is in %s and in %s", symbol, other, name)
				}
				in[symbol] = name
				if value == "m" {
					t.Errorf("%s: %s is a module", name, symbol)
				}
			}
		}
	}
}

func TestCheck(t *testing.T) {
	var all strings.Builder
	for _, group := range Moby {
		for _, symbol := range group.Symbols {
			if LeftOut[symbol] == "" {
				all.WriteString("CONFIG_" + symbol + "=y\n")
			}
		}
	}
	for name, test := range map[string]struct{ replace, by, want string }{
		"all there":        {"", "", ""},
		"not set":          {"CONFIG_VETH=y", "# CONFIG_VETH is not set", "VETH is not set (generally necessary)"},
		"not there":        {"CONFIG_IPVLAN=y\n", "", "IPVLAN is not set (network driver ipvlan)"},
		"a module":         {"CONFIG_MEMCG=y", "CONFIG_MEMCG=m", "MEMCG is not set (generally necessary)"},
		"another's prefix": {"CONFIG_IP_VS=y\n", "CONFIG_IP_VS_X=y\n", "IP_VS is not set (optional: published ports and services)"},
		"left out, yet there": {"CONFIG_VETH=y", "CONFIG_VETH=y\nCONFIG_RT_GROUP_SCHED=y",
			"RT_GROUP_SCHED is set, and said to be left out"},
	} {
		t.Run(name, func(t *testing.T) {
			_, wrong := Check(Parse(strings.Replace(all.String(), test.replace, test.by, 1)))
			if got := strings.Join(wrong, ", "); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
