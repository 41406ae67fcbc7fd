package netd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/arcinit/arcinit/internal/guarded"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Run configures the NICs and keeps them configured until ctx ends; then it
// returns nil and leaves the network as it is, for the next Run to take over
// (ErrRelease as the cause gives the leases back). It ends with an error only
// where it cannot go on: the kernel tells no more of the links, or a bug made a
// goroutine panic. Being without NICs, servers or leases is not such a case.
func Run(ctx context.Context, cfg Config, log *slog.Logger) error {
	return newDaemon(cfg, log).run(ctx)
}

// daemon has a worker for each NIC with a role. It hears of the links and keeps
// the report; the workers do the rest.
type daemon struct {
	cfg       Config
	log       *slog.Logger
	newClient func(*counter) exchanger
	fail      context.CancelCauseFunc // ends the daemon with an error
	wg        sync.WaitGroup          // all goroutines

	kernel  kernel
	posts   posts
	workers map[int]*worker // by link index
	// isLate says that a NIC found now was not there when the system began.
	isLate bool

	// before is what there was: the last Run's report, and then what NICs
	// that are gone have left.
	before Report

	mu     sync.Mutex // guards report, which the workers change
	report Report

	changed   chan struct{} // has one where the report is to be written
	reportErr said          // of writing it
}

func newDaemon(cfg Config, log *slog.Logger) *daemon {
	cfg.setDefaults()
	d := &daemon{
		cfg:     cfg,
		log:     log,
		posts:   cfg.posts(),
		workers: make(map[int]*worker),
		report:  Report{NICs: []NIC{}},
		changed: make(chan struct{}, 1),
	}
	d.newClient = func(c *counter) exchanger { return dhcpClient{cfg.Hostname, c} }
	return d
}

func (d *daemon) run(ctx context.Context) error {
	ctx, d.fail = context.WithCancelCause(ctx)
	defer d.fail(nil)
	// First subscribe, then look: nothing falls between.
	news, err := d.subscribe(ctx)
	if err != nil {
		return err
	}
	if d.kernel, err = openKernel(); err != nil {
		d.log.Warn("start", "err", err)
	}
	defer d.kernel.Close()
	switch d.before, err = ReadReport(d.cfg.ReportPath); {
	case err == nil:
		d.isLate = true
		d.posts.restore(d.before)
	case !errors.Is(err, fs.ErrNotExist):
		d.log.Warn("what was leased before is not known", "err", err)
	}
	if d.cfg.IPv6Router {
		if err := setIPv6Forwarding(d.cfg.Proc); err != nil {
			d.log.Warn("IPv6", "err", err)
		}
	}
	clock := make(chan struct{}, 1)
	if err := watchClock(ctx, func(f func()) { d.spawn("clock", f) }, func() { signal(clock) }); err != nil {
		d.log.Warn("a jump of the wall clock will not be noticed", "err", err)
	}
	if err := d.assign(ctx); err != nil {
		d.log.Warn("NIC roles", "err", err)
	}
	d.isLate = true
	if len(d.workers) == 0 {
		d.log.Warn("there is no NIC; waiting for one")
		d.updateReport(func(*Report) {})
	}
	d.spawn("report", func() { d.keepReport(ctx) })
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-clock:
			for _, w := range d.workers {
				w.clockSet.Store(true)
				signal(w.wake)
			}
		case messages := <-news:
			d.heard(ctx, messages)
		}
	}
	d.wg.Wait()
	d.writeReport()
	if cause := context.Cause(ctx); cause != ctx.Err() && !errors.Is(cause, ErrRelease) {
		return cause
	}
	return nil
}

// signal puts one into c, unless there is one already. It does not wait.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// spawn runs f on a goroutine of its own, which run waits for. A panic in it ends
// the daemon.
func (d *daemon) spawn(name string, f func()) {
	d.wg.Add(1)
	guarded.Go(d.log, "netd's "+name, func() {
		defer d.wg.Done()
		if err := guarded.Call(name, func() error { f(); return nil }); err != nil {
			d.fail(fmt.Errorf("%s: %w", name, err))
		}
	})
}

// heard tells the workers what the kernel's messages say that is theirs.
func (d *daemon) heard(ctx context.Context, messages []syscall.NetlinkMessage) {
	if messages == nil {
		d.look(ctx)
	}
	for _, m := range messages {
		switch m.Header.Type {
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			// A bridge's about one of its ports is not about the link.
			if nl.DeserializeIfInfomsg(m.Data).Family == unix.AF_UNSPEC {
				d.linkChanged(ctx, m)
			}
		case unix.RTM_DELADDR:
			if w := d.workers[int(nl.DeserializeIfAddrmsg(m.Data).Index)]; w != nil {
				w.disturb()
			}
		case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
			if !isDisturbing(m) {
				continue
			}
			for _, w := range d.workers {
				w.disturb()
			}
		}
	}
}

// look finds out what messages that were lost may have said.
func (d *daemon) look(ctx context.Context) {
	d.log.Debug("messages of the kernel were lost")
	for _, w := range d.workers {
		link, err := d.kernel.LinkByIndex(w.index)
		if err != nil || link.Attrs().Name != w.Name {
			d.gone(w)
			continue
		}
		w.linkChanged(link)
		w.disturb()
	}
	d.assignLate(ctx)
}

// linkChanged tells the worker of a link that it changed, or that it is gone. A
// new link may be a NIC that is to have a role.
func (d *daemon) linkChanged(ctx context.Context, m syscall.NetlinkMessage) {
	header := unix.NlMsghdr(m.Header)
	link, err := netlink.LinkDeserialize(&header, m.Data)
	if err != nil {
		d.log.Warn("message about a link", "err", err)
		return
	}
	name, isThere := link.Attrs().Name, header.Type == unix.RTM_NEWLINK
	w := d.workers[link.Attrs().Index]
	if w != nil && isThere && name == w.Name {
		w.linkChanged(link)
		return
	}
	if w != nil {
		d.gone(w) // or it has another name now
	}
	// Containers come and go with links that are no NICs.
	if isThere && isNIC(d.cfg.Sys, name) {
		d.assignLate(ctx)
	}
}

func (d *daemon) assignLate(ctx context.Context) {
	if err := d.assign(ctx); err != nil {
		d.log.Debug("NIC roles", "err", err)
	}
}

// assign starts a worker for each NIC that has a role and no worker.
func (d *daemon) assign(ctx context.Context) error {
	found, err := d.posts.fill(d.cfg.Sys)
	isNew := false
	for _, a := range found {
		isNew = d.start(ctx, a) || isNew
	}
	if isNew {
		d.updateReport(func(*Report) {})
	}
	return err
}

// start starts the worker of a NIC, unless it has one, and reports whether it did.
func (d *daemon) start(ctx context.Context, a Assignment) (started bool) {
	link, err := d.kernel.LinkByName(a.Name)
	if err != nil {
		d.log.Warn("NIC is gone", "nic", a.Name, "role", a.Role, "err", err)
		return false
	}
	index := link.Attrs().Index
	if d.workers[index] != nil {
		return false
	}
	mac := link.Attrs().HardwareAddr.String()
	ctx, cancel := context.WithCancel(ctx)
	w := &worker{
		Assignment: a,
		d:          d,
		index:      index,
		log:        d.log.With("nic", a.Name, "role", a.Role),
		wake:       make(chan struct{}, 1),
		wasUp:      isUp(link),
		cancel:     cancel,
		done:       make(chan struct{}),
		mtu:        link.Attrs().MTU,
		last:       d.before.leased(mac, d.cfg.Now()),
		wasBridge:  d.before.hasRole(a.Name, RoleBridge),
	}
	w.link.set(link)
	w.dhcp = d.newClient(&w.counter)
	d.workers[index] = w
	if a.Role == RoleBridge && d.isLate && d.cfg.NewBridge != nil {
		old := d.before.Bridge()
		if old == a.Name {
			old = ""
		}
		if err := d.cfg.NewBridge(a.Name, old); err != nil {
			w.log.Warn("new bridge NIC", "err", err)
		}
	}
	d.before.forget(mac)
	d.mu.Lock()
	d.report.add(NIC{Role: a.Role, Name: a.Name, MAC: mac, State: StateDiscovering})
	d.mu.Unlock()
	d.spawn("worker "+a.Name, func() {
		defer close(w.done)
		w.run(ctx)
	})
	return true
}

// gone ends the worker of a NIC that is gone, and remembers what it had.
func (d *daemon) gone(w *worker) {
	w.log.Info("NIC is gone")
	w.cancel()
	<-w.done
	delete(d.workers, w.index)
	d.updateReport(func(r *Report) {
		if n := r.nic(w.Name); n != nil {
			d.before.forget(n.MAC)
			d.before.add(*n)
		}
		r.remove(w.Name)
	})
}

// updateReport changes the report and has it written.
func (d *daemon) updateReport(change func(*Report)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(&d.report)
	signal(d.changed)
}

// reportDelay is how long a change of the report waits for others, which come
// close together, before they are written: it takes longer to write them than to
// get a lease.
const reportDelay = 20 * time.Millisecond

// keepReport writes the report when it has changed, until ctx ends.
func (d *daemon) keepReport(ctx context.Context) {
	for {
		select {
		case <-d.changed:
		case <-ctx.Done():
			return
		}
		select {
		case <-d.cfg.After(reportDelay):
		case <-ctx.Done():
			return
		}
		d.writeReport()
	}
}

// writeReport writes the report as it is. That it cannot be written is logged
// once for each reason.
func (d *daemon) writeReport() {
	d.mu.Lock()
	err := d.report.write(d.cfg.ReportPath)
	d.mu.Unlock()
	if err == nil {
		d.reportErr = said{}
	} else if len(d.reportErr.news(err.Error())) > 0 {
		d.log.Warn("network report", "err", err)
	}
}
