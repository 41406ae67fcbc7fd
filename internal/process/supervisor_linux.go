package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/arcinit/arcinit/internal/guarded"
	"github.com/arcinit/arcinit/internal/logs"
	"golang.org/x/sys/unix"
)

// Restart delays: none the first time, then minBackoff, doubling up to maxBackoff. A run of at least healthy resets the delay.
const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 10 * time.Second
	healthy    = 30 * time.Second
)

// Restart says after which ends a service is started again.
type Restart string

// The kinds of Restart. A program that cannot be started counts as failed.
const (
	Always    Restart = "always"
	OnFailure Restart = "on-failure" // any end but exit code 0
	Never     Restart = "never"
)

// Service is a program that runs for as long as the system does.
type Service struct {
	Name    string
	Restart Restart
	Command
	// Prepare, if not nil, completes the Command before each start. Its error is that of the start.
	Prepare func(*Command) error
	// Burst is how often the service is started within Interval; after that it has failed for good. Zero is no limit.
	Burst    int
	Interval time.Duration
	// Nice is the scheduling priority (setpriority(2)). Values below 0 are preferred to the usual 0.
	Nice int
	// Grace is how long the service has to end after that was asked of it. What the service started has the rest of
	// that time, if it is left of the service's session.
	Grace time.Duration
	// After names services that end only after this one. A service that is Last ends after all others.
	After []string
	Last  bool
	// KillSession ends what is left of the service's session each time that the service ends.
	KillSession bool
	// EndSignal chooses the signal that asks the service to end; nil stands for SIGTERM.
	EndSignal func() syscall.Signal
	// Sinks are the logs that its output goes to.
	Sinks []logs.Sink
}

// Supervisor starts services and restarts those that end.
type Supervisor struct {
	Reaper *Reaper
	Log    *slog.Logger
	// Uptime is the time since boot, After a timer (time.After).
	Uptime func() time.Duration
	After  func(time.Duration) <-chan time.Time
	// Changed is called when the status of a service has changed, Failed when a service has reached its start limit.
	Changed func()
	Failed  func(name string)

	mu      sync.Mutex
	all     []*supervised // in the order of their first start
	stopped bool
}

// supervised is a service with its state.
type supervised struct {
	Service
	ctx    context.Context // ends when the service shall end
	stop   context.CancelFunc
	again  chan struct{} // has one in it to ask for a restart
	ended  chan struct{} // closed when the service will not run again
	output *os.File      // the pipe that it writes to; nil if its output is not captured
	copied chan struct{} // closed when all output is in the logs

	// Only the goroutine that supervises changes the rest; others read the status.
	status  atomic.Pointer[ServiceStatus]
	exit    <-chan syscall.WaitStatus // nil while the service does not run
	backoff time.Duration
	starts  []time.Duration // the times of the last Burst attempts to start it
}

// errStopped is the error of Start during a shutdown.
var errStopped = errors.New("the system is shutting down")

// Start starts a service and supervises it until Stop. A service whose name is already there is left
// alone. The error is that of the first attempt; the supervisor keeps trying.
func (s *Supervisor) Start(service Service) (changed bool, err error) {
	v := &supervised{Service: service, again: make(chan struct{}, 1), ended: make(chan struct{})}
	v.status.Store(&ServiceStatus{Name: service.Name})
	v.ctx, v.stop = context.WithCancel(context.Background())
	s.mu.Lock()
	isNew, stopped := !slices.ContainsFunc(s.all, func(other *supervised) bool { return other.Name == v.Name }), s.stopped
	if isNew && !stopped {
		s.all = append(s.all, v)
	}
	s.mu.Unlock()
	switch {
	case stopped:
		return false, fmt.Errorf("start %s: %w", v.Path, errStopped)
	case !isNew:
		return false, nil
	}
	if v.Terminal == "" {
		if err := s.capture(v); err != nil {
			s.Log.Warn("cannot capture the service's output", "service", v.Name, "err", err)
		}
	}
	err = s.start(v) // the caller logs it
	guarded.RestartOnPanic(s.Log, "supervisor of "+v.Name, s.After, func() {
		s.supervise(v)
		close(v.ended)
	})
	return true, err
}

// services returns all services, in the order of their first start.
func (s *Supervisor) services() []*supervised {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.all)
}

// Status returns the status of all services, in the order of their first start.
func (s *Supervisor) Status() (all []ServiceStatus) {
	for _, v := range s.services() {
		all = append(all, *v.status.Load())
	}
	return all
}

// Again ends the named service's process, or the delay before the next, and starts the service at once.
func (s *Supervisor) Again(name string) {
	for _, v := range s.services() {
		if v.Name == name {
			select {
			case v.again <- struct{}{}:
			default: // asked for already
			}
		}
	}
}

// supervise runs the service until it shall not run again. All its state is in v, so that it can be called again after a panic.
func (s *Supervisor) supervise(v *supervised) {
	for {
		failed := v.exit == nil || s.await(v)
		if v.ctx.Err() != nil || v.Restart == Never || v.Restart == OnFailure && !failed {
			return
		}
		if v.Burst > 0 && len(v.starts) == v.Burst && s.Uptime()-v.starts[0] < v.Interval {
			s.Log.Error("service failed: started too often", "service", v.Name, "times", v.Burst, "within", v.Interval)
			s.set(v, func(st *ServiceStatus) { st.Failed = true })
			s.Failed(v.Name)
			return
		}
		delay := v.backoff
		v.backoff = min(max(2*v.backoff, minBackoff), maxBackoff)
		if delay > 0 {
			select {
			case <-s.After(delay):
			case <-v.again:
				v.backoff = 0
			case <-v.ctx.Done():
				return
			}
		}
		before := v.status.Load().LastEnd
		if err := s.start(v); err != nil && err.Error() != before {
			s.Log.Warn("cannot start the service; will keep trying", "service", v.Name, "err", err)
		}
	}
}

// start makes one attempt to start the service.
func (s *Supervisor) start(v *supervised) (err error) {
	var pid int
	since, cmd := s.Uptime(), v.Command
	if v.Burst > 0 {
		v.starts = append(v.starts, since)[max(0, len(v.starts)+1-v.Burst):]
	}
	if v.Prepare != nil {
		err = v.Prepare(&cmd)
	}
	v.exit = nil
	if err == nil {
		pid, v.exit, err = s.Reaper.Start(cmd, v.output)
	}
	if err != nil {
		v.backoff = max(v.backoff, minBackoff) // the next attempt would fail at once, too
		s.set(v, func(st *ServiceStatus) { st.LastEnd = err.Error() })
		return err
	}
	if v.Nice != 0 {
		// The process group is that of all its threads.
		if err := syscall.Setpriority(syscall.PRIO_PGRP, pid, v.Nice); err != nil {
			s.Log.Warn("cannot set the service's priority", "service", v.Name, "nice", v.Nice, "err", err)
		}
	}
	s.Log.Info("service started", "service", v.Name, "pid", pid)
	s.set(v, func(st *ServiceStatus) { st.PID, st.Since = pid, since; st.Starts++ })
	return nil
}

// set changes a service's status.
func (s *Supervisor) set(v *supervised, change func(*ServiceStatus)) {
	status := *v.status.Load()
	change(&status)
	v.status.Store(&status)
	s.Changed()
}

// await waits until the process has ended, and asks it to end if Stop or Again was called. It reports whether the process failed.
func (s *Supervisor) await(v *supervised) (failed bool) {
	var end syscall.WaitStatus
	asked, status := true, v.status.Load()
	select {
	case end = <-v.exit:
		asked = false
	case <-v.again:
	case <-v.ctx.Done():
	}
	level, message := slog.LevelWarn, "service ended"
	if asked {
		level, message = slog.LevelInfo, "service stopped"
		v.askToEnd(status.PID)
		end = <-v.exit
	}
	v.exit = nil
	_, _ = v.output.WriteString("\n") // ends a line that the process left unfinished
	s.Log.Log(v.ctx, level, message, "service", v.Name, "pid", status.PID, "end", describe(end))
	if asked || s.Uptime()-status.Since >= healthy {
		v.backoff = 0
	}
	s.set(v, func(st *ServiceStatus) { st.PID, st.LastEnd = 0, describe(end); st.Ends++ })
	if v.KillSession && !asked {
		ctx, cancel := context.WithTimeout(v.ctx, v.Grace)
		defer cancel()
		s.endSession(ctx, v, status.PID)
	}
	return !end.Exited() || end.ExitStatus() != 0
}

// askToEnd sends the service its end signal. On a terminal that is SIGHUP, because an interactive shell ignores SIGTERM.
func (v *supervised) askToEnd(pid int) {
	switch {
	case v.Terminal != "":
		_ = syscall.Kill(-pid, syscall.SIGHUP)
	case v.EndSignal != nil:
		_ = syscall.Kill(pid, v.EndSignal())
	default:
		_ = syscall.Kill(pid, syscall.SIGTERM)
	}
	_ = syscall.Kill(pid, syscall.SIGCONT) // a stopped process gets no other signal
}

const (
	// progress is how often Stop logs which service it waits for.
	progress = 5 * time.Second
	// afterKill is how long Stop waits for a killed process. The process does not end while a system call does not return.
	afterKill = 2 * time.Second
)

// Stop ends the services side by side, but each after those that name it in After. It kills those that have
// not ended within their grace, or when ctx ends. No service can be started after that.
func (s *Supervisor) Stop(ctx context.Context) {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	all := s.services()
	ended := map[*supervised]chan struct{}{}
	for _, v := range all {
		ended[v] = make(chan struct{})
	}
	for _, v := range all {
		guarded.Go(s.Log, "end of "+v.Name, func() {
			defer close(ended[v])
			for _, w := range all {
				if w.endsBefore(v) {
					select {
					case <-ended[w]:
					case <-ctx.Done():
					}
				}
			}
			s.end(ctx, v)
		})
	}
	for _, v := range all {
		<-ended[v]
	}
}

func (v *supervised) endsBefore(w *supervised) bool {
	return !v.Last && (w.Last || slices.Contains(v.After, w.Name))
}

// end asks a service to end, and kills it when its grace ends. Then it does the same to what is left of the service's session.
func (s *Supervisor) end(ctx context.Context, v *supervised) {
	ctx, cancel := context.WithTimeout(ctx, v.Grace)
	defer cancel()
	begin, leader := s.Uptime(), v.status.Load().PID
	v.stop()
	if !s.hasEnded(ctx, v, begin) {
		if leader = v.status.Load().PID; leader == 0 {
			return // its program's file system does not answer
		}
		s.Log.Warn("service did not stop in time; killing it", "service", v.Name, "pid", leader)
		_ = syscall.Kill(leader, syscall.SIGKILL)
		select {
		case <-v.ended:
		case <-s.After(afterKill):
			s.Log.Warn("service did not end after SIGKILL", "service", v.Name, "pid", leader)
		}
	}
	if leader != 0 {
		s.endSession(ctx, v, leader)
	}
}

// hasEnded waits for the end of a service, and reports whether it came before ctx ended.
func (s *Supervisor) hasEnded(ctx context.Context, v *supervised, begin time.Duration) bool {
	for ctx.Err() == nil {
		select {
		case <-v.ended:
			return true
		case <-s.After(progress):
			s.Log.Log(ctx, logs.LevelNotice, "waiting for a service to stop", "service", v.Name, "pid", v.status.Load().PID,
				"waited", (s.Uptime() - begin).Round(time.Second))
		case <-ctx.Done():
		}
	}
	return false
}

// endSession asks the processes that a service has left in its session to end, and kills them when ctx ends.
func (s *Supervisor) endSession(ctx context.Context, v *supervised, session int) {
	asked := map[int]bool{}
	for {
		changed := s.Reaper.Changed()
		left := sessionOf(session)
		if len(left) == 0 {
			return
		}
		for _, pid := range left {
			if !asked[pid] && ctx.Err() == nil {
				asked[pid] = true
				_ = syscall.Kill(pid, syscall.SIGTERM)
				_ = syscall.Kill(pid, syscall.SIGCONT)
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			s.Log.Warn("killing processes that the service left behind", "service", v.Name, "pids", left)
			for _, pid := range left {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			return
		}
	}
}

// sessionOf returns the processes of a session (setsid(2)).
func sessionOf(session int) (pids []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if of, err := unix.Getsid(pid); err == nil && of == session {
			pids = append(pids, pid)
		}
	}
	return pids
}
