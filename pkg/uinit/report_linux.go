package uinit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/arcinit/arcinit/internal/built"
	"github.com/arcinit/arcinit/internal/regular"
	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"golang.org/x/sys/unix"
)

// currentReport is the report of the boot so far.
func (p *initProcess) currentReport() arcsetup.Report {
	return arcsetup.Report{Version: built.Version(), Kernel: kernelRelease(), Role: p.role,
		Start: p.start, PlanEnded: time.Duration(p.planEnded.Load()), AgentStarted: time.Duration(p.agentStarted.Load()),
		Steps: p.runner.Results(), Services: p.services.Status(), Config: p.config.Load().From}
}

// writeReport writes the current report into the guest, then onto the share, which may never answer. None follows the last.
func (p *initProcess) writeReport(last bool) error {
	p.reportMu.Lock()
	defer p.reportMu.Unlock()
	if p.reportClosed {
		return nil
	}
	p.reportClosed = last
	data, err := json.Marshal(p.currentReport())
	if err != nil {
		return fmt.Errorf("boot report: %w", err)
	}
	data = append(data, '\n')
	_, err = regular.Write("/", arcsetup.ReportPath, data, 0o644)
	if p.guest.HasShare() {
		_, errShare := regular.Write("/", arcsetup.HostReportPath, data, 0o644)
		err = errors.Join(err, errShare)
	}
	return err
}

// keepReport writes the report after the plan, and whenever a service has changed.
// Only this goroutine waits for the share, which may be slow or hang.
func (p *initProcess) keepReport() {
	failed := false // at the last try
	for range p.reportChanged {
		<-time.After(100 * time.Millisecond) // for further changes, and for the agent, which is starting
		err := p.writeReport(false)
		if err != nil && !failed {
			p.log.Error("cannot write the boot report", "err", err)
		}
		failed = err != nil
	}
}

// changeReport has keepReport write the report again.
func (p *initProcess) changeReport() {
	select {
	case p.reportChanged <- struct{}{}:
	default: // a change is already pending
	}
}

// servicesChanged runs after each start and end of a service.
func (p *initProcess) servicesChanged() {
	for _, s := range p.services.Status() {
		if s.Name == "agent" && s.Starts > 0 && p.agentStarted.CompareAndSwap(0, int64(s.Since)) {
			p.host.Load().Ready()
		}
	}
	p.changeReport()
}

// notifyBooted tells the host the outcome of the boot, with the error number of the first failed step.
func (p *initProcess) notifyBooted(r arcsetup.Report) {
	p.host.Load().Status("guest is up: " + r.Count())
	for _, s := range r.Steps {
		if s.Outcome == plan.Failed {
			number := syscall.EIO // of an error without a number
			errors.As(s.Err, &number)
			p.host.Load().Failed(int(number))
			return
		}
	}
}

func (p *initProcess) flushNotifier() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second) // the host may be gone
	defer cancel()
	if err := p.host.Load().Flush(ctx); err != nil {
		p.log.Warn("cannot notify the host of the shutdown", "err", err)
	}
}

// flush writes out the report, host notifications and logs. It is called when no service runs any more and before shares are unmounted.
func (p *initProcess) flush() {
	p.flushNotifier()
	if err := p.writeReport(true); err != nil {
		p.log.Error("cannot write the last boot report", "err", err)
	}
	p.log.file.Flush(time.Hour) // Shutdown has a limit for all of this
	p.log.output.Flush(time.Hour)
}

// uptime is the time since the kernel's boot.
func uptime() time.Duration {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) // cannot fail
	return time.Duration(now.Nano())
}

func kernelRelease() string {
	var uts unix.Utsname
	_ = unix.Uname(&uts) // cannot fail
	return unix.ByteSliceToString(uts.Release[:]) + " " + unix.ByteSliceToString(uts.Machine[:])
}
