package kconfig

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fragments reads the fragments from which an architecture's kernel is built.
func fragments(t *testing.T, arch string) Config {
	t.Helper()
	var text strings.Builder
	for _, name := range []string{"common", arch, arch + ".mitigations"} {
		fragment, err := os.ReadFile(filepath.Join("..", "..", "kernel-config", name))
		if err != nil {
			t.Fatal(err)
		}
		text.Write(fragment)
	}
	return Parse(text.String())
}

// TestFragmentsMeetMoby expects every symbol of Moby's list in the fragments themselves, so that no symbol is set only because
// another one selects it. It also compares the table in the documentation.
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
				t.Error("docs/kernel.md does not have this table")
			}
		})
	}
}

// TestFragmentsAreInOnePlace expects that no symbol appears twice, and that none is a module.
func TestFragmentsAreInOnePlace(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		in := map[string]string{}
		for _, name := range []string{"common", arch, arch + ".mitigations"} {
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
					t.Errorf("%s is in both %s and %s", symbol, other, name)
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
	// want is the symbol of the only complaint, if any, and what it has to name besides.
	for name, test := range map[string]struct{ replace, by, want, group string }{
		"all set":           {"", "", "", ""},
		"not set":           {"CONFIG_VETH=y", "# CONFIG_VETH is not set", "VETH", "generally necessary"},
		"missing":           {"CONFIG_IPVLAN=y\n", "", "IPVLAN", "network driver ipvlan"},
		"a module":          {"CONFIG_MEMCG=y", "CONFIG_MEMCG=m", "MEMCG", "generally necessary"},
		"another's prefix":  {"CONFIG_IP_VS=y\n", "CONFIG_IP_VS_X=y\n", "IP_VS", "optional: published ports and services"},
		"left out, but set": {"CONFIG_VETH=y", "CONFIG_VETH=y\nCONFIG_RT_GROUP_SCHED=y", "RT_GROUP_SCHED", "LeftOut"},
	} {
		t.Run(name, func(t *testing.T) {
			_, wrong := Check(Parse(strings.Replace(all.String(), test.replace, test.by, 1)))
			if test.want == "" {
				if len(wrong) != 0 {
					t.Errorf("got %q, want no complaint", wrong)
				}
				return
			}
			if len(wrong) != 1 || !strings.HasPrefix(wrong[0], test.want+" ") || !strings.Contains(wrong[0], test.group) {
				t.Errorf("got %q, want one complaint about %s that names %q", wrong, test.want, test.group)
			}
		})
	}
}
