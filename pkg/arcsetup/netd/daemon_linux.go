package netd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/arcinit/arcinit/pkg/arcsetup/guarded"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Run configures the NICs and keeps them configured until ctx ends; then it
// returns nil and leaves the network as it is, for the next Run to take over. It
// ends with an error only where it cannot go on: the kernel tells no more of the
// links, or a bug made a goroutine panic. Being without NICs, servers or leases
// is not such a case.
func Run(ctx context.Context, cfg Config, log *slog.Logger) error {
	return newDaemon(cfg, log).run(ctx)
}

// daemon has a worker for each role that a NIC has. It hears of the links and
// keeps the report; the workers do the rest.
type daemon struct {
	cfg       Config
	log       *slog.Logger
	dhcp      exchanger
	findRoles func(sys, primary, bridge string) (Roles, error)
	fail      context.CancelCauseFunc // ends the daemon with an error
	wg        sync.WaitGroup          // the workers

	roles   Roles // as last assigned, also of NICs that are gone since
	workers map[Role]*worker

	mu        sync.Mutex // guards what follows, which the workers change
	report    Report
	reportErr string // what was last logged of writing the report
}

func newDaemon(cfg Config, log *slog.Logger) *daemon {
	cfg.setDefaults()
	return &daemon{
		cfg:       cfg,
		log:       log,
		dhcp:      dhcpClient{cfg.Hostname},
		findRoles: FindRoles,
		workers:   make(map[Role]*worker),
		report:    Report{NICs: []NIC{}},
	}
}

func (d *daemon) run(ctx context.Context) error {
	ctx, d.fail = context.WithCancelCause(ctx)
	defer d.fail(nil)
	// First subscribe, then look: nothing falls between.
	updates := make(chan netlink.LinkUpdate, 64)
	options := netlink.LinkSubscribeOptions{ErrorCallback: func(err error) {
		if ctx.Err() == nil {
			d.log.Warn("link subscription", "err", err)
		}
	}}
	if err := netlink.LinkSubscribeWithOptions(updates, ctx.Done(), options); err != nil {
		return fmt.Errorf("subscribe to links: %w", err)
	}
	if err := d.assign(ctx); err != nil {
		d.log.Warn("NIC roles", "err", err)
	}
	if len(d.workers) == 0 {
		d.log.Warn("there is no NIC; waiting for one")
	}
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case u, ok := <-updates:
			if !ok {
				d.fail(errors.New("the subscription to links ended"))
				continue
			}
			d.linkChanged(ctx, u)
		}
	}
	d.wg.Wait()
	if cause := context.Cause(ctx); cause != ctx.Err() {
		return cause
	}
	return nil
}

// linkChanged tells the worker of a link that it changed, or that it is gone. A
// new link may be a NIC for a role that has none.
func (d *daemon) linkChanged(ctx context.Context, u netlink.LinkUpdate) {
	// A bridge's message about one of its ports is not one about the link.
	if u.Family != unix.AF_UNSPEC {
		return
	}
	for _, w := range d.workers {
		if w.index != int(u.Index) {
			continue
		}
		if u.Header.Type == unix.RTM_DELLINK {
			w.log.Info("NIC is gone")
			d.stop(w)
		} else {
			w.notify(u.Link)
		}
		return
	}
	if u.Header.Type == unix.RTM_NEWLINK && len(d.workers) < 2 {
		if err := d.assign(ctx); err != nil {
			d.log.Debug("NIC roles", "err", err)
		}
	}
}

// assign starts a worker for each role that has a NIC and no worker. A role
// stays with the NIC that had it first.
func (d *daemon) assign(ctx context.Context) error {
	found, err := d.findRoles(d.cfg.Sys, cmp.Or(d.roles.Primary, d.cfg.Primary), cmp.Or(d.roles.Bridge, d.cfg.Bridge))
	d.start(ctx, RolePrimary, found.Primary, &d.roles.Primary)
	d.start(ctx, RoleBridge, found.Bridge, &d.roles.Bridge)
	d.updateReport(func(*Report) {})
	return err
}

// start starts the worker of role on the link name and notes that in assigned,
// unless there is no such link or the role has a worker.
func (d *daemon) start(ctx context.Context, role Role, name string, assigned *string) {
	if name == "" || d.workers[role] != nil {
		return
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		d.log.Warn("NIC is gone", "nic", name, "role", role, "err", err)
		return
	}
	*assigned = name
	ctx, cancel := context.WithCancel(ctx)
	w := &worker{
		d:      d,
		role:   role,
		name:   name,
		index:  link.Attrs().Index,
		log:    d.log.With("nic", name, "role", role),
		wake:   make(chan struct{}, 1),
		cancel: cancel,
		done:   make(chan struct{}),
	}
	d.workers[role] = w
	d.mu.Lock()
	d.report.add(NIC{Role: role, Name: name, MAC: link.Attrs().HardwareAddr.String(), State: StateDiscovering})
	d.mu.Unlock()
	d.wg.Add(1)
	guarded.Go(d.log, "worker of "+name, func() {
		defer d.wg.Done()
		defer close(w.done)
		if err := guarded.Call("worker "+name, func() error { w.run(ctx); return nil }); err != nil {
			d.fail(fmt.Errorf("worker of %s: %w", name, err))
		}
	})
}

// stop ends the worker of a NIC that is gone.
func (d *daemon) stop(w *worker) {
	w.cancel()
	<-w.done
	delete(d.workers, w.role)
	d.updateReport(func(r *Report) { r.remove(w.role) })
}

// updateReport changes the report and writes it. That it cannot be written is
// logged once for each reason.
func (d *daemon) updateReport(change func(*Report)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(&d.report)
	text := ""
	if err := d.report.write(d.cfg.ReportPath); err != nil {
		text = err.Error()
	}
	if text != "" && text != d.reportErr {
		d.log.Warn("network report", "err", text)
	}
	d.reportErr = text
}
