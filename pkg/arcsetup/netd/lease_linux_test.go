//go:build guesttest

package netd

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"
)

// asked is a discovery that a test's exchanger got.
type asked struct {
	discovery
	ctx context.Context
}

// exchanges is an exchanger that passes discoveries to a test. All fail: at once, or, if it
// is patient, when the context ends.
type exchanges struct {
	faulty
	questions chan asked
	isPatient bool
}

func (e exchanges) discover(ctx context.Context, _ netlink.Link, d discovery) (grant, error) {
	e.questions <- asked{d, ctx}
	if e.isPatient {
		<-ctx.Done()
		return grant{}, ctx.Err()
	}
	return grant{}, errors.New("no luck")
}

// TestLinkDownWhileProbing takes the link down during a probe: the daemon must not take the
// address for a free one.
func TestLinkDownWhileProbing(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	addNIC(t, newNamespace(t), "eth0", "10.0.2.1/24")
	probing := make(chan struct{}, 1)
	r := startDaemon(t, Config{ProbeAddress: true}, 1, func(d *daemon) {
		d.client = faulty(func() (*dhcpv4.DHCPv4, error) { return newACK(t, "10.0.2.15"), nil })
		after := d.cfg.After
		d.cfg.After = func(pause time.Duration) <-chan time.Time {
			if pause == probePause {
				signal(probing)
				return nil // the probe never ends
			}
			return after(pause)
		}
	})
	<-probing
	ip(t, "link", "set", "eth0", "down")
	eventually(t, "no carrier", func() bool { return r.nic(t, RolePrimary).State == StateNoCarrier })
	if got := ip(t, "-4", "addr", "show", "eth0"); got != "" {
		t.Errorf("addresses:\n%s\nwant none", got)
	}
	must(t, r.end())
}

// TestLinkReturns takes the link down and up during a try, and between two tries. Both times
// the daemon starts over at once.
func TestLinkReturns(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	addNIC(t, newNamespace(t), "eth0", "10.0.2.1/24")
	for _, isPatient := range []bool{true, false} {
		questions := make(chan asked)
		r := startDaemon(t, Config{}, 1, func(d *daemon) {
			d.client = exchanges{questions: questions, isPatient: isPatient}
			d.cfg.After = func(pause time.Duration) <-chan time.Time {
				if pause == reportDelay {
					return time.After(pause)
				}
				return nil // pauses between tries never end
			}
		})
		first := <-questions
		for range 2 {
			select {
			case again := <-questions:
				t.Errorf("patient %t: another try after %v, although the link was up", isPatient, again.taken)
			case <-time.After(100 * time.Millisecond):
			}
			ip(t, "link", "set", "eth0", "down")
			eventually(t, "no carrier", func() bool { return r.nic(t, RolePrimary).State == StateNoCarrier })
			returns := time.Now()
			ip(t, "link", "set", "eth0", "up")
			select {
			case again := <-questions:
				if again.id == first.id || again.taken > time.Since(returns) || again.wait > shortTry*5/4 {
					t.Errorf("patient %t: the daemon did not start over: %+v", isPatient, again)
				}
				if isPatient && first.ctx.Err() == nil {
					t.Error("the earlier try has not ended")
				}
				first = again
			case <-time.After(10 * time.Second):
				t.Fatalf("patient %t: no try after the link was up again", isPatient)
			}
		}
		if n := r.nic(t, RolePrimary); strings.Contains(n.Error, context.Canceled.Error()) {
			t.Errorf("the report has the error %q", n.Error)
		}
		must(t, r.end())
	}
}
