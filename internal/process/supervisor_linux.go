package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/arcinit/arcinit/internal/guarded"
	"github.com/arcinit/arcinit/internal/logs"
)

// A service that ends is started again at once the first time, then after
// minBackoff, twice that, and so on to maxBackoff; one that has run for healthy
// starts over.
const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 10 * time.Second
	healthy    = 30 * time.Second
)

// Restart says which ends of a service are followed by a new start.
type Restart string

// The kinds of Restart. A program that could not be started counts as one that
// failed.
const (
	Always    Restart = "always"
	OnFailure Restart = "on-failure" // any end but exit code 0
	Never     Restart = "never"
)

// Service is a program that is to run for as long as the system does.
type Service struct {
	Name    string
	Restart Restart
	Command
	// Nice is its scheduling priority (setpriority(2)); those below 0 come
	// before the usual 0.
	Nice int
	// EndSignal is what asks it to end; nil is for SIGTERM.
	EndSignal func() syscall.Signal
	// Sinks are the logs that its output goes to; nil stands for Supervisor.Output.
	Sinks []logs.Sink
}

// Supervisor keeps services running.
type Supervisor struct {
	Reaper *Reaper
	Log    *slog.Logger
	// Output are the logs that the services' own words go to.
	Output []logs.Sink
	// Uptime is the time since boot, After a timer (time.After).
	Uptime func() time.Duration
	After  func(time.Duration) <-chan time.Time
	// Changed is called when the status of a service has changed.
	Changed func()

	mu      sync.Mutex
	all     []*supervised // in the order in which they were first started
	stopped bool
}

// supervised is a service and what is known of its lives.
type supervised struct {
	Service
	output *output         // nil on a terminal
	ctx    context.Context // ends when the service is to
	stop   context.CancelFunc
	again  chan struct{} // asks for a new life
	ended  chan struct{} // closed when there will be no other
	status ServiceStatus // guarded by Supervisor.mu

	// What follows belongs to the goroutine that supervises.
	exit      <-chan syscall.WaitStatus // nil while it does not run
	pid       int
	started   time.Duration
	backoff   time.Duration
	complaint string // why it does not start, said once, not at each attempt
}

// errStopped answers those who come too late.
var errStopped = errors.New("the system is shutting down")

// Start starts a service and keeps it running until Stop, or as Restart says.
// The error is that of the first attempt; there may be others. One of that name
// that is there already is left alone.
func (s *Supervisor) Start(service Service) (changed bool, err error) {
	v := &supervised{
		Service: service, again: make(chan struct{}, 1), ended: make(chan struct{}),
		status: ServiceStatus{Name: service.Name},
	}
	v.ctx, v.stop = context.WithCancel(context.Background())
	if added, err := s.add(v); !added {
		return false, err
	}
	if service.Terminal == "" {
		sinks := service.Sinks
		if sinks == nil {
			sinks = s.Output
		}
		if v.output, err = newOutput(service.Name, sinks, s.Log, s.After); err != nil {
			s.Log.Warn("cannot capture the service's output", "service", service.Name, "err", err)
		}
	}
	err = s.start(v)
	if err != nil {
		v.complaint = err.Error() // the caller's to log
	}
	guarded.RestartOnPanic(s.Log, "supervisor of "+service.Name, s.After, func() {
		s.supervise(v)
		close(v.ended)
	})
	return true, err
}

func (s *Supervisor) add(v *supervised) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false, fmt.Errorf("start %s: %w", v.Path, errStopped)
	}
	for _, other := range s.all {
		if other.Name == v.Name {
			return false, nil
		}
	}
	s.all = append(s.all, v)
	return true, nil
}

// Status is the status of all services, in the order of their start.
func (s *Supervisor) Status() []ServiceStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]ServiceStatus, len(s.all))
	for i, v := range s.all {
		all[i] = v.status
	}
	return all
}

// set changes a service's status and tells of it.
func (s *Supervisor) set(v *supervised, change func(*ServiceStatus)) {
	s.mu.Lock()
	change(&v.status)
	s.mu.Unlock()
	s.Changed()
}

// Again ends the named service's present life, or its wait for the next, and
// starts a new one at once.
func (s *Supervisor) Again(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.all {
		if v.Name == name {
			select {
			case v.again <- struct{}{}:
			default: // that has been asked for
			}
		}
	}
}

// supervise gives the service one life after another. It keeps all it knows in
// v, so that it can be called again after a panic.
func (s *Supervisor) supervise(v *supervised) {
	for v.exit != nil || v.ctx.Err() == nil {
		failed := true
		if v.exit != nil {
			failed = s.await(v)
		}
		if v.ctx.Err() != nil || v.Restart == Never || v.Restart == OnFailure && !failed {
			return
		}
		if !s.wait(v) {
			return
		}
		if err := s.start(v); err != nil && err.Error() != v.complaint {
			v.complaint = err.Error()
			s.Log.Warn("service does not start, will keep trying", "service", v.Name, "err", err)
		}
	}
}

// start gives the service a life.
func (s *Supervisor) start(v *supervised) error {
	v.started = s.Uptime()
	var err error
	v.pid, v.exit, err = s.Reaper.Start(v.Command, v.output.writeEnd())
	if err != nil {
		v.exit = nil
		s.set(v, func(st *ServiceStatus) { st.LastEnd = err.Error() })
		// There is no sense in trying at once what just failed.
		v.backoff = max(v.backoff, minBackoff)
		return err
	}
	if v.Nice != 0 {
		// A session is a process group, too, so this is for all its threads.
		if err := syscall.Setpriority(syscall.PRIO_PGRP, v.pid, v.Nice); err != nil {
			s.Log.Warn("priority of service", "service", v.Name, "nice", v.Nice, "err", err)
		}
	}
	v.complaint = ""
	s.Log.Info("service started", "service", v.Name, "pid", v.pid)
	s.set(v, func(st *ServiceStatus) { st.PID, st.Since = v.pid, v.started; st.Starts++ })
	return nil
}

// wait waits before the next life; false means that there is to be none.
func (s *Supervisor) wait(v *supervised) bool {
	pause := v.backoff
	v.backoff = min(max(2*v.backoff, minBackoff), maxBackoff)
	if pause == 0 {
		return true
	}
	select {
	case <-s.After(pause):
		return true
	case <-v.again:
		v.backoff = 0
		return true
	case <-v.ctx.Done():
		return false
	}
}

// await waits until the process ends, or asks it to, and reports whether it
// failed.
func (s *Supervisor) await(v *supervised) (failed bool) {
	var status syscall.WaitStatus
	asked := true
	select {
	case status = <-v.exit:
		asked = false
	case <-v.again:
	case <-v.ctx.Done():
	}
	if asked {
		v.askToEnd()
		status = <-v.exit
	}
	v.exit = nil
	v.output.endLine()
	end := describe(status)
	if asked {
		v.backoff = 0
		s.Log.Info("service stopped", "service", v.Name, "pid", v.pid, "end", end)
	} else {
		s.Log.Warn("service ended", "service", v.Name, "pid", v.pid, "end", end)
		if s.Uptime()-v.started >= healthy {
			v.backoff = 0
		}
	}
	s.set(v, func(st *ServiceStatus) { st.PID, st.LastEnd = 0, end; st.Ends++ })
	return !status.Exited() || status.ExitStatus() != 0
}

// askToEnd sends the signal that does, or hangs the terminal up: an interactive
// shell ignores SIGTERM.
func (v *supervised) askToEnd() {
	if v.Terminal != "" {
		_ = syscall.Kill(-v.pid, syscall.SIGHUP)
		return
	}
	sig := syscall.SIGTERM
	if v.EndSignal != nil {
		sig = v.EndSignal()
	}
	_ = syscall.Kill(v.pid, sig)
}

// Stop ends the services, the last started first: each is asked to,
// and those that still run when ctx ends are killed. From then on none can be
// started.
func (s *Supervisor) Stop(ctx context.Context) {
	s.mu.Lock()
	s.stopped = true
	all := append([]*supervised(nil), s.all...)
	s.mu.Unlock()
	begin := s.Uptime()
	for i := len(all) - 1; i >= 0; i-- {
		all[i].stop()
		if !s.awaitEnd(ctx, all[i], begin) {
			s.kill(all[i])
		}
	}
}

// How often Stop says what it waits for, and how long it waits for a process
// that it has killed: one in the midst of a system call may not end at all.
const (
	progress  = 5 * time.Second
	afterKill = 2 * time.Second
)

// awaitEnd waits for a service to end and says so now and then. It returns
// false when ctx ends first.
func (s *Supervisor) awaitEnd(ctx context.Context, v *supervised, begin time.Duration) bool {
	for {
		select {
		case <-v.ended:
			return true
		case <-ctx.Done():
			return false
		case <-s.After(progress):
			s.Log.Log(ctx, logs.LevelNotice, "waiting for service to stop", "service", v.Name, "pid", s.pid(v),
				"for", (s.Uptime() - begin).Round(time.Second))
		}
	}
}

// finishOutput waits until what the services, which have been stopped, and all
// that they started have said is in the logs.
func (s *Supervisor) finishOutput() {
	s.mu.Lock()
	all := append([]*supervised(nil), s.all...)
	s.mu.Unlock()
	for _, v := range all {
		v.output.finish()
	}
}

func (s *Supervisor) kill(v *supervised) {
	pid := s.pid(v)
	if pid == 0 {
		return
	}
	s.Log.Warn("service killed: it did not stop in time", "service", v.Name, "pid", pid)
	_ = syscall.Kill(pid, syscall.SIGKILL)
	select {
	case <-v.ended:
	case <-s.After(afterKill):
		s.Log.Warn("service does not end even when killed", "service", v.Name, "pid", pid)
	}
}

// pid is the service's process, zero while there is none.
func (s *Supervisor) pid(v *supervised) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return v.status.PID
}
