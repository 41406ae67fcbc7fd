// Command agent is the example agent of `make run`. It reports the shares and the addresses to the launcher over the
// virtio-serial port "run". Then it waits until the launcher asks it to power the guest off, or until it gets SIGTERM.
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
)

// nics is how many NICs the guest of `make run` has.
const nics = 2

// networkTime is how long the agent waits for addresses.
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
		// The guest has no such port, so no launcher wants a report.
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
	if err := addresses(ctx, host); err != nil {
		return err
	}
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
			return fmt.Errorf("unknown request %q from the host", r)
		}
		if err := syscall.Kill(os.Getppid(), syscall.SIGUSR2); err != nil {
			return fmt.Errorf("ask uinit to power off: %w", err)
		}
		<-ctx.Done()
	case <-ctx.Done():
	}
	return keepNetwork()
}

// keepNetwork copies the network report to the share, for the launcher to draw.
func keepNetwork() error {
	data, err := os.ReadFile(netd.DefaultReport)
	if err != nil {
		return fmt.Errorf("read the network report: %w", err)
	}
	if err := os.WriteFile("/arcbox/log/net.json", data, 0o644); err != nil {
		return fmt.Errorf("keep the network report: %w", err)
	}
	return nil
}

// mounts reports the mounted shares.
func mounts(out io.Writer) error {
	table, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return fmt.Errorf("read the mounts: %w", err)
	}
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "virtiofs" {
			if _, err := fmt.Fprintf(out, "share %s is on %s\n", f[0], f[1]); err != nil {
				return fmt.Errorf("report to the host: %w", err)
			}
		}
	}
	return nil
}

// addresses waits until every NIC has an address, or for networkTime, and then reports the addresses.
func addresses(ctx context.Context, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, networkTime)
	defer cancel()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		// An error means that the network daemon has not written the report yet.
		report, _ := netd.ReadReport(netd.DefaultReport)
		var lines strings.Builder
		n := 0
		for _, nic := range report.NICs {
			for _, address := range nic.Addresses {
				n++
				fmt.Fprintf(&lines, "%s has the address %v\n", nic.Name, address)
			}
		}
		if n < nics && ctx.Err() == nil {
			select {
			case <-look.C:
			case <-ctx.Done():
			}
			continue
		}
		if n < nics {
			fmt.Fprintf(&lines, "%d of %d NICs have an address after %v\n", n, nics, networkTime)
		}
		if _, err := io.WriteString(out, lines.String()); err != nil {
			return fmt.Errorf("report to the host: %w", err)
		}
		return nil
	}
}
