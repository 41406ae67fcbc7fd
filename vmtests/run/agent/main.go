// Command agent is the example agent of `make run`. It says what it finds when it starts, and what becomes of the
// network, to the launcher on the port "run". Then it waits to be told to power the guest off, or to end.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
	"github.com/arcinit/arcinit/vmtests/guest/port"
	"github.com/vishvananda/netlink"
)

// cards is how many the guest of `make run` has.
const cards = 2

// networkTime is how long the networks may take until the agent goes on without them.
const networkTime = 15 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	host, err := port.Open("run")
	if errors.Is(err, os.ErrNotExist) {
		// No launcher is listening: there is nothing to do but to be there.
		<-ctx.Done()
		return keepNetwork()
	}
	if err != nil {
		return err
	}
	defer func() { _ = host.Close() }()

	if err := mounts(host); err != nil {
		return err
	}
	if err := addresses(ctx, host, cards); err != nil {
		return err
	}
	awaitReport(ctx, cards)
	if _, err := fmt.Fprintln(host, "ready"); err != nil {
		return fmt.Errorf("report to the host: %w", err)
	}
	request := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(host).ReadString('\n')
		request <- strings.TrimSpace(line)
	}()
	select {
	case r := <-request:
		if r != "poweroff" {
			return fmt.Errorf("the host asks for %q, which is unknown", r)
		}
		if err := syscall.Kill(1, syscall.SIGUSR2); err != nil {
			return fmt.Errorf("ask PID 1 to power off: %w", err)
		}
		<-ctx.Done()
	case <-ctx.Done():
	}
	return keepNetwork()
}

const networkReport = "/run/arcbox/net.json"

// awaitReport waits until the network's report has the addresses of so many cards, for a second at most: it is
// written when a few changes have come together.
func awaitReport(ctx context.Context, cards int) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		report, err := netd.ReadReport(networkReport)
		n := 0
		for _, card := range report.NICs {
			if len(card.Addresses) > 0 {
				n++
			}
		}
		if err == nil && n >= cards {
			return
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

// keepNetwork leaves the network's report on the share, for the launcher to draw.
func keepNetwork() error {
	data, err := os.ReadFile(networkReport)
	if err != nil {
		return fmt.Errorf("read the network's report: %w", err)
	}
	if err := os.WriteFile("/arcbox/log/net.json", data, 0o644); err != nil {
		return fmt.Errorf("keep the network's report: %w", err)
	}
	return nil
}

// mounts reports the mounted shares.
func mounts(out io.Writer) error {
	table, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return fmt.Errorf("read the mounts: %w", err)
	}
	for _, line := range strings.Split(string(table), "\n") {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "virtiofs" {
			if _, err := fmt.Fprintf(out, "share %s is on %s\n", f[0], f[1]); err != nil {
				return fmt.Errorf("report to the host: %w", err)
			}
		}
	}
	return nil
}

// addresses reports the IPv4 addresses of so many cards as they come, for a bounded time.
func addresses(ctx context.Context, out io.Writer, cards int) error {
	ctx, cancel := context.WithTimeout(ctx, networkTime)
	defer cancel()
	updates := make(chan netlink.AddrUpdate)
	if err := netlink.AddrSubscribeWithOptions(updates, ctx.Done(), netlink.AddrSubscribeOptions{ListExisting: true}); err != nil {
		return fmt.Errorf("watch the addresses: %w", err)
	}
	seen := map[int]bool{}
	for len(seen) < cards {
		select {
		case u, ok := <-updates:
			if !ok {
				return errors.New("watch the addresses: the kernel sends no more")
			}
			link, err := netlink.LinkByIndex(u.LinkIndex)
			if err != nil || !u.NewAddr || u.LinkAddress.IP.To4() == nil || u.LinkAddress.IP.IsLoopback() || seen[u.LinkIndex] {
				continue
			}
			seen[u.LinkIndex] = true
			if _, err := fmt.Fprintf(out, "%s has the address %s\n", link.Attrs().Name, &u.LinkAddress); err != nil {
				return fmt.Errorf("report to the host: %w", err)
			}
		case <-ctx.Done():
			_, err := fmt.Fprintf(out, "%d of %d cards have an address after %v\n", len(seen), cards, networkTime)
			return err
		}
	}
	return nil
}
