//go:build guesttest

package uevent

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// device is one that the kernel can be told to send events of, by writing to its
// file uevent (Documentation/ABI/testing/sysfs-uevent).
const device = "/devices/virtual/mem/null"

func trigger(t *testing.T, action string) {
	t.Helper()
	if err := os.WriteFile("/sys"+device+"/uevent", []byte(action), 0); err != nil {
		t.Fatal(err)
	}
}

func receive[T any](t *testing.T, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(20 * time.Second):
		t.Fatal("nothing comes")
	}
	return v
}

// watchDuring runs Watch until t ends.
func watchDuring(t *testing.T, scan func(), each func(Event)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Watch(ctx, scan, each) }()
	t.Cleanup(func() {
		cancel()
		if err := receive(t, ended); err != nil {
			t.Error(err)
		}
	})
}

// TestEventsOfTheKernel gets those, and not what a program sends.
func TestEventsOfTheKernel(t *testing.T) {
	scanned, events := make(chan bool, 1), make(chan Event, 100)
	watchDuring(t, func() { scanned <- true }, func(e Event) {
		if e.DevPath == device || e.DevPath == "/forged" {
			events <- e
		}
	})
	receive(t, scanned)
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd) //nolint:errcheck // a test's socket
	forged := []byte("add@/forged\x00SUBSYSTEM=mem\x00")
	if err := unix.Sendto(fd, forged, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: fromKernel}); err != nil {
		t.Fatal(err)
	}
	trigger(t, "change")
	if got, want := receive(t, events), (Event{Action: "change", DevPath: device, Subsystem: "mem"}); got != want {
		t.Errorf("the event is %+v, want %+v", got, want)
	}
}

// TestLostEventsHaveItScanAgain lets events come while none is read: while one is
// looked at, and again while the devices are.
func TestLostEventsHaveItScanAgain(t *testing.T) {
	scanning, scan := make(chan bool), make(chan bool)
	first, flooded := make(chan bool, 1), make(chan bool)
	var once sync.Once
	watchDuring(t, func() { scanning <- true; <-scan }, func(Event) {
		once.Do(func() { first <- true; <-flooded })
	})
	flood := func() {
		// More than fit into net.core.rmem_default.
		for range 5000 {
			trigger(t, "change")
		}
	}
	receive(t, scanning)
	scan <- true
	trigger(t, "change")
	receive(t, first)
	flood()
	close(flooded)
	receive(t, scanning)
	flood()
	scan <- true
	receive(t, scanning)
	scan <- true
}

// TestWaitingTakesNoThread has many wait.
func TestWaitingTakesNoThread(t *testing.T) {
	const watchers = 50
	scanned, events := make(chan bool, watchers), make(chan bool, 10*watchers)
	for range watchers {
		watchDuring(t, func() { scanned <- true }, func(e Event) {
			if e.DevPath == device {
				events <- true
			}
		})
	}
	for range watchers {
		receive(t, scanned)
	}
	// Who has got the first event waits for the second.
	for range 3 {
		trigger(t, "change")
		for range watchers {
			receive(t, events)
		}
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	if len(threads) > watchers/2 {
		t.Errorf("%d threads for %d that wait", len(threads), watchers)
	}
}
