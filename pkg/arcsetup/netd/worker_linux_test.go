package netd

import (
	"context"
	"errors"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestLinkChanged sets the link down and up. Whoever uses the link must notice, even if
// the link is up again at once, and must not be disturbed by other changes.
func TestLinkChanged(t *testing.T) {
	const isUp, isDown = unix.IFF_UP | unix.IFF_LOWER_UP, unix.IFF_UP
	for _, test := range []struct {
		name     string
		messages []uint32
		lost, up bool // the link was lost, the link is up in the end
	}{
		{"another change", []uint32{isUp | unix.IFF_PROMISC}, false, true},
		{"down", []uint32{isDown}, true, false},
		{"down twice", []uint32{isDown, isDown}, true, false},
		{"dormant", []uint32{isUp | unix.IFF_DORMANT}, true, false},
		{"down for a moment", []uint32{isDown, isUp, isUp}, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := &worker{ctx: t.Context(), linkChanges: make(chan struct{}, 1)}
			up, lost := context.WithCancelCause(w.ctx)
			w.link.Store(&linkState{up: up, lost: lost})
			for _, flags := range append([]uint32{isUp}, test.messages...) {
				w.linkChanged(&netlink.Device{LinkAttrs: netlink.LinkAttrs{RawFlags: flags}})
			}
			if got := errors.Is(context.Cause(up), errLinkDown); got != test.lost {
				t.Errorf("the link was lost: %t, want %t", got, test.lost)
			}
			if got := w.link.Load().up.Err() == nil; got != test.up {
				t.Errorf("the link is up: %t, want %t", got, test.up)
			}
			if len(w.linkChanges) != 1 {
				t.Error("the next wait would not end")
			}
		})
	}
}
