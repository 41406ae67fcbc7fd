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

// asked is a question that a test's exchanger was to ask.
type asked struct {
	discovery
	ctx context.Context
}

// exchanges is an exchanger that hands its questions to a test and answers
// nothing: it fails at once, or when the context ends.
type exchanges struct {
	faulty
	questions chan asked
	isPatient bool
}

func (e exchanges) discover(ctx context.Context, _ netlink.Link, d discovery) (*dhcpv4.DHCPv4, error) {
	e.questions <- asked{d, ctx}
	if e.isPatient {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return nil, errors.New("no luck")
}

// TestLinkDownWhileProbing has the link go down while nobody has claimed the
// address yet: it is not taken for a free one.
func TestLinkDownWhileProbing(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	addNIC(t, newNamespace(t), "eth0", "10.0.2.1/24")
	probing := make(chan struct{}, 1)
	r := startDaemon(t, Config{ProbeAddress: true}, 1, func(d *daemon) {
		client := faulty(func() (*dhcpv4.DHCPv4, error) { return newACK(t, "10.0.2.15"), nil })
		d.newClient = func(*counter) exchanger { return client }
		after := d.cfg.After
		d.cfg.After = func(pause time.Duration) <-chan time.Time {
			if pause == probePause {
				signal(probing)
				return nil // for as long as the test likes
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

// TestLinkReturns has the link go and return while a lease is asked for, and
// between two tries: in either case it is asked for at once, as if anew.
func TestLinkReturns(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	addNIC(t, newNamespace(t), "eth0", "10.0.2.1/24")
	for _, isPatient := range []bool{true, false} {
		questions := make(chan asked)
		r := startDaemon(t, Config{}, 1, func(d *daemon) {
			client := exchanges{questions: questions, isPatient: isPatient}
			d.newClient = func(*counter) exchanger { return client }
			d.cfg.After = func(pause time.Duration) <-chan time.Time {
				if pause == reportDelay {
					return time.After(pause)
				}
				return nil // those between tries have no end
			}
		})
		first := <-questions
		for range 2 {
			select {
			case again := <-questions:
				t.Errorf("patient %t: asked again after %v", isPatient, again.taken)
			case <-time.After(100 * time.Millisecond):
			}
			ip(t, "link", "set", "eth0", "down")
			eventually(t, "no carrier", func() bool { return r.nic(t, RolePrimary).State == StateNoCarrier })
			returns := time.Now()
			ip(t, "link", "set", "eth0", "up")
			select {
			case again := <-questions:
				if again.id == first.id || again.taken > time.Since(returns) || again.wait != shortTry {
					t.Errorf("patient %t: asked anew: %+v", isPatient, again)
				}
				if isPatient && first.ctx.Err() == nil {
					t.Error("the question before is not over")
				}
				first = again
			case <-time.After(10 * time.Second):
				t.Fatalf("patient %t: not asked again", isPatient)
			}
		}
		if n := r.nic(t, RolePrimary); strings.Contains(n.Error, context.Canceled.Error()) {
			t.Errorf("the report has the error %q", n.Error)
		}
		must(t, r.end())
	}
}
