package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/arcinit/arcinit/internal/built"
	"github.com/arcinit/arcinit/internal/wholefile"
	"github.com/arcinit/arcinit/pkg/arcsetup"
	"golang.org/x/sys/unix"
)

// reportFile is the boot report on its way into files.
type reportFile struct {
	mu     sync.Mutex // held while a report is made and written, so that no older one replaces a newer one
	closed bool       // nothing can be written any more: the disks are about to be unmounted

	changed chan struct{} // holds one while the report has changes that are not written
}

// change has the report written again.
func (f *reportFile) change() {
	select {
	case f.changed <- struct{}{}:
	default: // a change is already pending
	}
}

// currentReport is the report of the boot so far.
func (p *initProcess) currentReport() arcsetup.Report {
	return arcsetup.Report{
		Version: built.Version(), Kernel: kernelRelease(), Role: p.role,
		Start: p.start, PlanEnded: time.Duration(p.planEnded.Load()), AgentStarted: time.Duration(p.agentStarted.Load()),
		Steps: p.runner.Results(), Services: p.services.Status(),
	}
}

// writeReport writes the current report into the guest and, where that is
// mounted and onShare asks for it, onto the share.
func (p *initProcess) writeReport(onShare bool) error {
	p.report.mu.Lock()
	defer p.report.mu.Unlock()
	if p.report.closed {
		return nil
	}
	data, err := json.Marshal(p.currentReport())
	if err != nil {
		return fmt.Errorf("boot report: %w", err)
	}
	data = append(data, '\n')
	err = wholefile.Write(arcsetup.ReportPath, data, 0o644)
	if onShare && p.guest.HasShare() {
		err = errors.Join(err, wholefile.Write(arcsetup.HostReportPath, data, 0o644))
	}
	return err
}

// reportDelay is how long a change waits for further changes before the report is
// written. It also leaves the processor to the agent, which is starting.
const reportDelay = 100 * time.Millisecond

// keepReport writes the report whenever it has changed. Only this goroutine waits
// for the share, which may be slow or hang.
func (p *initProcess) keepReport() {
	for range p.report.changed {
		<-time.After(reportDelay)
		if err := p.writeReport(true); err != nil {
			p.log.Error("cannot write the boot report", "err", err)
		}
	}
}

// closeReport writes the report for the last time.
func (p *initProcess) closeReport() {
	if err := p.writeReport(true); err != nil {
		p.log.Error("cannot write the boot report", "err", err)
	}
	p.report.mu.Lock()
	defer p.report.mu.Unlock()
	p.report.closed = true
}

// flush writes out the report, host notifications and logs. It is called when no
// service runs any more and before file systems are unmounted.
func (p *initProcess) flush() {
	p.closeReport()
	p.flushNotifier()
	p.log.flush()
}

// showReport prints the report on the console, where a shell may already run.
func (p *initProcess) showReport(r arcsetup.Report) {
	console, err := os.OpenFile("/dev/console", os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		p.log.Warn("cannot show the boot report on the console", "err", err)
		return
	}
	_ = r.WriteTable(console)
	_, _ = fmt.Fprintln(console, "\nA root shell is on this console: press enter.")
	_ = console.Close()
}
