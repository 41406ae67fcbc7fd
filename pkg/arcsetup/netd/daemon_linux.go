package netd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/arcinit/arcinit/internal/guarded"
	"github.com/arcinit/arcinit/internal/regular"
	"github.com/arcinit/arcinit/internal/wallclock"
	"github.com/arcinit/arcinit/pkg/arcsetup/netd/firewall"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Run configures the NICs and the firewall and keeps them configured until ctx ends. Then it returns nil and leaves the
// network as it is, for the next Run to take over. With ErrRelease as ctx's cause it releases the leases first. An
// error means that the kernel sends no more messages, or that a goroutine panicked.
func Run(ctx context.Context, cfg Config, log *slog.Logger) error {
	return newDaemon(cfg, log).run(ctx)
}

// daemon receives the kernel's messages, assigns the roles, applies the firewall's
// rules, and writes the report. A worker for each NIC with a role does the rest.
type daemon struct {
	cfg        Config
	log        *slog.Logger
	client     exchanger
	applyRules func(add, remove []firewall.Rule) error
	fail       context.CancelCauseFunc // ends the daemon with an error
	wg         sync.WaitGroup          // all goroutines

	kernel      kernel
	slots       slots
	workers     map[int]*worker // by link index
	bridge      string          // the link name in the firewall's rules, if any
	firewallErr string          // of the last try to apply the rules
	isClamped   bool            // TCP's segments are clamped, or cannot be

	host         netip.Addr       // in the hosts file
	hostsRetry   <-chan time.Time // until the hosts file can be written
	reportFailed bool             // the last write of the report failed, which was logged

	before Report // NICs of the last Run, and NICs that have gone since

	mu      sync.Mutex    // guards the workers' parts of the report
	changed chan struct{} // filled when the report has changed
}

func newDaemon(cfg Config, log *slog.Logger) *daemon {
	cfg.setDefaults()
	return &daemon{
		cfg: cfg, log: log, client: dhcpClient{cfg.Hostname, cfg.Now}, applyRules: firewall.Apply,
		slots: cfg.slots(), workers: make(map[int]*worker), changed: make(chan struct{}, 1),
	}
}

func (d *daemon) run(ctx context.Context) error {
	ctx, d.fail = context.WithCancelCause(ctx)
	defer d.fail(nil)
	// Subscribe before the first look, so that no change is missed.
	lost := make(chan struct{}, 1)
	events, err := d.subscribe(ctx, lost)
	if err != nil {
		return err
	}
	if d.kernel.Handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("open a netlink socket: %w", err)
	}
	defer d.kernel.Close()
	switch d.before, err = ReadReport(d.cfg.ReportPath); {
	case err == nil:
		d.slots.restore(d.before)
		d.bridge = d.before.withRole(RoleBridge).Name
	case !errors.Is(err, fs.ErrNotExist):
		d.log.Warn("cannot read the previous leases; starting without them", "err", err)
	}
	clock := make(chan struct{}, 1)
	// A guest notices that it was paused by the wall clock, since its timers stood still.
	if watch, err := wallclock.Watch(ctx, clock); err != nil {
		d.log.Warn("cannot watch for clock jumps", "err", err)
	} else {
		d.spawn("clock", watch)
	}
	d.assign(ctx, slog.LevelWarn)
	if d.cfg.IPv6Router { // after accept_ra of the NICs, because forwarding removes the routes of other links
		if err := setSysctl("net/ipv6/conf/all/forwarding", "1"); err != nil {
			d.log.Warn("cannot forward IPv6", "err", err)
		}
	}
	if len(d.workers) == 0 {
		d.log.Warn("no NIC has a role; waiting for a NIC")
	}
	signal(d.changed) // there is a report even without NICs
	var write <-chan time.Time
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-clock:
			for _, w := range d.workers {
				signal(w.clockSet)
			}
		case <-d.changed:
			if write == nil {
				write = d.cfg.After(reportDelay)
			}
		case <-write:
			write = nil
			d.writeReport()
		case messages := <-events:
			d.handle(ctx, messages)
		case <-lost:
			d.log.Debug("netlink messages were lost; looking at everything again")
			d.lookAgain(ctx)
		case <-d.cfg.LookAgain:
			d.lookAgain(ctx)
		case <-d.hostsRetry:
			signal(d.changed)
		}
	}
	d.wg.Wait()
	d.writeReport()
	if cause := context.Cause(ctx); cause != ctx.Err() && !errors.Is(cause, ErrRelease) {
		return cause
	}
	return nil
}

// signal fills c, which has room for one signal. It does not block.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// spawn runs f on a goroutine, which run waits for. A panic in f ends the daemon.
func (d *daemon) spawn(name string, f func()) {
	d.wg.Add(1)
	guarded.Go(d.log, "netd's "+name, func() {
		defer d.wg.Done()
		if err := guarded.Call(name, func() error { f(); return nil }); err != nil {
			d.fail(fmt.Errorf("%s: %w", name, err))
		}
	})
}

// handle passes the kernel's messages on to the workers of their links.
func (d *daemon) handle(ctx context.Context, messages []syscall.NetlinkMessage) {
	for _, m := range messages {
		switch m.Header.Type {
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			// AF_BRIDGE messages are about ports of a bridge, not about the link.
			if nl.DeserializeIfInfomsg(m.Data).Family == unix.AF_UNSPEC {
				d.linkChanged(ctx, m)
			}
		case unix.RTM_DELADDR:
			if w := d.workers[int(nl.DeserializeIfAddrmsg(m.Data).Index)]; w != nil {
				signal(w.disturbed)
			}
		case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
			d.routeChanged(m)
		}
	}
}

// lookAgain makes links, roles, rules, kernel parameters, addresses and routes what they should be, whatever others have changed.
func (d *daemon) lookAgain(ctx context.Context) {
	d.isClamped = false
	signal(d.changed)
	for _, w := range d.workers {
		link, err := d.kernel.LinkByIndex(w.index)
		if err != nil || link.Attrs().Name != w.Name {
			d.gone(w)
			continue
		}
		if err := w.setSysctls(); err != nil {
			w.log.Warn("cannot set kernel parameters of the NIC", "err", err)
		}
		w.linkChanged(link)
		signal(w.disturbed)
	}
	d.assign(ctx, slog.LevelDebug)
}

// linkChanged passes a message on to the link's worker, which ends if the link is gone or has another name. A new NIC may get a role.
func (d *daemon) linkChanged(ctx context.Context, m syscall.NetlinkMessage) {
	header := unix.NlMsghdr(m.Header)
	link, err := netlink.LinkDeserialize(&header, m.Data)
	if err != nil {
		d.log.Warn("cannot parse a message about a link", "err", err)
		return
	}
	name, exists := link.Attrs().Name, header.Type == unix.RTM_NEWLINK
	if w := d.workers[link.Attrs().Index]; w != nil {
		if exists && name == w.Name {
			w.linkChanged(link)
			return
		}
		d.gone(w)
	}
	// Containers' links come and go, too, but are not NICs.
	if exists && isNIC(d.cfg.Sys, name) {
		d.assign(ctx, slog.LevelDebug)
	}
}

// assign gives the NICs their roles, applies the firewall's rules for them, and only
// then starts their workers. It logs at this level which roles it cannot assign.
func (d *daemon) assign(ctx context.Context, level slog.Level) {
	assigned, err := d.slots.assign(d.cfg.Sys)
	if err != nil {
		d.log.Log(ctx, level, "cannot assign all NIC roles", "err", err)
	}
	bridge := ""
	for _, a := range assigned {
		if a.Role == RoleBridge {
			bridge = a.Name
		}
	}
	d.setFirewall(bridge)
	for _, a := range assigned {
		d.start(ctx, a)
	}
}

// setFirewall adds the rules for the sandbox subnet and the bridge NIC, whose link
// is not set up yet, and removes the rules of the bridge NIC's former name.
func (d *daemon) setFirewall(bridge string) {
	var add, remove []firewall.Rule
	if bridge != "" {
		add = firewall.BridgeRules(bridge)
	}
	if d.cfg.SandboxSubnet.IsValid() {
		add = slices.Concat(add, firewall.SandboxRules(d.cfg.SandboxSubnet), firewall.IsolationRules(d.cfg.SandboxSubnet))
	}
	if d.bridge != "" && d.bridge != bridge {
		remove = firewall.BridgeRules(d.bridge)
	}
	d.bridge = bridge
	text := ""
	if err := d.applyRules(add, remove); err != nil {
		text = err.Error()
	}
	if text != d.firewallErr && text != "" {
		d.log.Error("cannot apply all firewall rules", "err", text)
	}
	d.firewallErr = text
	signal(d.changed)
}

// start starts a worker for a NIC, unless the NIC has one.
func (d *daemon) start(ctx context.Context, a assignment) {
	link, err := d.kernel.LinkByName(a.Name)
	if err != nil {
		d.log.Warn("NIC is gone", "nic", a.Name, "role", a.Role, "err", err)
		return
	}
	index := link.Attrs().Index
	if d.workers[index] != nil {
		return
	}
	mac := link.Attrs().HardwareAddr.String()
	w := &worker{
		assignment: a, d: d, index: index, log: d.log.With("nic", a.Name, "role", a.Role), done: make(chan struct{}),
		nic:         NIC{Role: a.Role, Name: a.Name, MAC: mac, State: StateDiscovering},
		linkChanges: make(chan struct{}, 1), clockSet: make(chan struct{}, 1), disturbed: make(chan struct{}, 1),
		mtu: link.Attrs().MTU, last: d.before.leased(mac, d.cfg.Now()),
	}
	w.ctx, w.cancel = context.WithCancel(ctx)
	up, lost := context.WithCancelCause(w.ctx)
	w.link.Store(&linkState{up: up, lost: lost})
	w.linkChanged(link)
	d.workers[index] = w
	d.before.forget(mac)
	w.failed(w.setSysctls()) // before the link is up
	d.spawn("worker "+a.Name, func() {
		defer close(w.done)
		w.run()
	})
}

// gone ends the worker of a NIC that is gone, and keeps the NIC's state in before.
func (d *daemon) gone(w *worker) {
	w.log.Info("NIC is gone")
	w.cancel()
	<-w.done
	delete(d.workers, w.index)
	d.before.forget(w.nic.MAC)
	d.before.NICs = append(d.before.NICs, w.nic)
	signal(d.changed)
}

// reportDelay is how long a changed report waits for further changes, which often follow soon. Writing the report takes longer than getting a lease.
const reportDelay = 20 * time.Millisecond

func (d *daemon) writeReport() {
	r := Report{NICs: []NIC{}, FirewallError: d.firewallErr}
	d.mu.Lock()
	for _, w := range d.workers {
		r.NICs = append(r.NICs, w.nic)
	}
	d.mu.Unlock()
	r.sort()
	data, err := json.Marshal(r)
	if err == nil {
		_, err = regular.Write("/", d.cfg.ReportPath, append(data, '\n'), 0o644)
	}
	if err != nil && !d.reportFailed {
		d.log.Warn("cannot write the network report", "err", err)
	}
	d.reportFailed = err != nil
	d.writeHosts(r.withRole(RolePrimary).Gateway)
	d.clampSegments(r)
}

// dockerMTU is the MTU of a container engine's network unless its configuration has another, in bytes.
const dockerMTU = 1500

// clampSegments lets containers' TCP connections over a NIC with a small MTU agree on segments that fit. A container knows the MTU of its own
// link alone, and so does the other end, whose large packets may get lost without a word.
func (d *daemon) clampSegments(r Report) {
	if d.isClamped || !slices.ContainsFunc(r.NICs, func(n NIC) bool { return 0 < n.MTU && n.MTU < dockerMTU }) {
		return
	}
	d.isClamped = true
	if err := firewall.ClampSegments(); err != nil {
		d.log.Warn("cannot clamp TCP segments; containers' connections over a NIC with a small MTU may hang", "err", err)
	}
}

// writeHosts gives Docker's names of the host the address of the primary NIC's gateway in the hosts file, and no other address.
func (d *daemon) writeHosts(gateway netip.Addr) {
	if d.cfg.Hosts == "" || !gateway.IsValid() || gateway == d.host {
		return
	}
	if _, err := os.Stat(d.cfg.HostsAfter); err != nil {
		d.hostsRetry = d.cfg.After(time.Second)
		return
	}
	d.host = gateway // there is no second try until it changes
	old, _ := os.ReadFile(d.cfg.Hosts)
	text := ""
	for line := range strings.Lines(string(old)) {
		if !strings.Contains(line, ".docker.internal") {
			text += strings.TrimRight(line, "\n") + "\n"
		}
	}
	text += gateway.String() + "\thost.docker.internal gateway.docker.internal\n"
	if _, err := regular.Write("/", d.cfg.Hosts, []byte(text), 0o644); err != nil {
		d.log.Warn("cannot write host.docker.internal to the hosts file", "err", err)
	}
}
