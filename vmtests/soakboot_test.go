//go:build vmtest && soak

package vmtests

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
)

// TestSoakBoots boots the same guest again and again, 200 times unless BOOTS says otherwise. Each boot ends as the first
// one does: its report, its network, its log and its end have no difference but times.
func TestSoakBoots(t *testing.T) {
	boots, err := strconv.Atoi(cmp.Or(os.Getenv("BOOTS"), "200"))
	if err != nil || boots < 2 {
		t.Fatalf("BOOTS=%s: want a number from 2 on", os.Getenv("BOOTS"))
	}
	var first []string
	took := map[string][]time.Duration{}
	for i := range boots {
		t.Run(strconv.Itoa(i+1), func(t *testing.T) {
			nics, _ := dhcpPeers(t, time.Hour)
			m := boot(t, image{nics: nics})
			facts := bootFacts(t, m, took)
			if i == 0 {
				first = facts
				t.Logf("the first boot:\n%s", strings.Join(facts, "\n"))
			}
			for _, fact := range without(facts, first) {
				t.Errorf("not in the first boot: %s", fact)
			}
			for _, fact := range without(first, facts) {
				t.Errorf("only in the first boot: %s", fact)
			}
		})
	}
	for _, what := range []string{"agent started", "plan ended", "powered off"} {
		all := took[what]
		slices.Sort(all)
		if n := len(all); n > 0 {
			t.Logf("%s after %v to %v, median %v, in %d boots", what, all[0].Round(time.Millisecond), all[n-1].Round(time.Millisecond), all[n/2].Round(time.Millisecond), n)
		}
	}
}

// bootFacts waits for the end of the boot, powers off, and returns all that must be the same in each boot. It adds the
// times that are not.
func bootFacts(t *testing.T, m *machine, took map[string][]time.Duration) (facts []string) {
	t.Helper()
	m.waitReport(t)
	eventually(t, func() string {
		for _, name := range []string{"eth0", "eth1"} {
			if n := network(t, m)[name]; n.State != netd.StateBound {
				return fmt.Sprintf("%s is %+v", name, n)
			}
		}
		return ""
	})
	for _, n := range network(t, m) {
		n.Obtained, n.Renews, n.Rebinds, n.Expires, n.ConfiguredNS = time.Time{}, time.Time{}, time.Time{}, time.Time{}, 0
		text, err := json.Marshal(n)
		if err != nil {
			t.Fatal(err)
		}
		facts = append(facts, "net.json: "+string(text))
	}
	for _, r := range ownRecords(t, m) {
		facts = append(facts, fmt.Sprintf("kernel log: level %d: %s", r.Level, r.Text))
	}
	asked := time.Now()
	testPowerOff(t, m)
	report := parseReport(t, []byte(m.get("log/boot.json")))
	took["agent started"] = append(took["agent started"], report.AgentStarted)
	took["plan ended"] = append(took["plan ended"], report.PlanEnded)
	took["powered off"] = append(took["powered off"], time.Since(asked))
	for _, s := range report.Steps {
		facts = append(facts, fmt.Sprintf("step %s: %s %s", s.Step, s.Outcome, s.Error))
	}
	for _, s := range report.Services {
		facts = append(facts, fmt.Sprintf("service %s: %d starts, %d ends, %s", s.Name, s.Starts, s.Ends, s.LastEnd))
	}
	for line := range strings.Lines(m.get("log/arcinit.log")) {
		facts = append(facts, "arcinit.log: "+strings.TrimSpace(line))
	}
	for i := range facts {
		facts[i] = varies.ReplaceAllString(facts[i], "$1$2$3~")
	}
	slices.Sort(facts) // steps run side by side
	return facts
}

// varies matches what differs from boot to boot: times of the day, durations and process IDs. Of the last it keeps the
// name.
var varies = regexp.MustCompile(`()\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[-+]\d\d:\d\d)|()\b(?:\d+(?:\.\d+)?(?:h|m|s|ms|µs|ns))+\b|(\bpid=)\d+`)

// without returns the facts that are not among the others. A fact may be there more than once.
func without(facts, others []string) (rest []string) {
	count := map[string]int{}
	for _, f := range others {
		count[f]++
	}
	for _, f := range facts {
		if count[f]--; count[f] < 0 {
			rest = append(rest, f)
		}
	}
	return rest
}
