package pid1

import (
	"context"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup/guarded"
)

// A service that ends is started again at once the first time, then after
// minBackoff, twice that, and so on to maxBackoff; one that has run for healthy
// starts over.
const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 10 * time.Second
	healthy    = 30 * time.Second
)

// Service is a program that is to run for as long as the system does.
type Service struct {
	Name string
	Command
}

// Services keeps services running.
type Services struct {
	Children *Children
	Log      *slog.Logger
	// Uptime is the time since boot, After a timer (time.After).
	Uptime func() time.Duration
	After  func(time.Duration) <-chan time.Time
	// Changed is called when the status of a service has changed.
	Changed func()

	mu      sync.Mutex
	running []*supervised // in the order in which they were first started
}

// supervised is a service and the goroutine that looks after it.
type supervised struct {
	Service
	status ServiceStatus // guarded by Services.mu
	stop   context.CancelFunc
	ended  chan struct{} // closed when it is stopped and will not start again
}

// Start starts a service and keeps it running until Stop. The error is that of
// the first attempt; there will be others.
func (s *Services) Start(service Service) error {
	ctx, cancel := context.WithCancel(context.Background())
	v := &supervised{
		Service: service, stop: cancel, ended: make(chan struct{}),
		status: ServiceStatus{Name: service.Name},
	}
	s.mu.Lock()
	s.running = append(s.running, v)
	s.mu.Unlock()
	first := make(chan error, 1)
	guarded.Go(s.Log, service.Name, func() {
		defer close(v.ended)
		s.supervise(ctx, v, first)
	})
	return <-first
}

// Status is the status of all services, in the order of their start.
func (s *Services) Status() []ServiceStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]ServiceStatus, len(s.running))
	for i, v := range s.running {
		all[i] = v.status
	}
	return all
}

// set changes a service's status and tells of it.
func (s *Services) set(v *supervised, change func(*ServiceStatus)) {
	s.mu.Lock()
	change(&v.status)
	s.mu.Unlock()
	s.Changed()
}

// supervise starts the service over and over until ctx ends. What came of the
// first attempt is sent on first.
func (s *Services) supervise(ctx context.Context, v *supervised, first chan<- error) {
	var backoff time.Duration
	var complaint string // why it does not start, said once, not at each attempt
	for ctx.Err() == nil {
		started := s.Uptime()
		pid, exit, err := s.Children.Start(v.Command)
		var end string
		if err == nil {
			s.set(v, func(st *ServiceStatus) { st.PID, st.Since = pid, started; st.Starts++ })
			s.Log.Info("service started", "service", v.Name, "pid", pid)
		} else {
			end = err.Error()
		}
		if first != nil {
			first <- err
			first = nil
		} else if err != nil && end != complaint {
			s.Log.Warn("service does not start, will keep trying", "service", v.Name, "err", err)
		}
		complaint = end
		if err == nil {
			end = s.await(ctx, v, pid, exit)
		}
		s.set(v, func(st *ServiceStatus) { st.PID, st.LastEnd = 0, end })
		if s.Uptime()-started >= healthy {
			backoff = 0
		}
		if err != nil {
			backoff = max(backoff, minBackoff)
		}
		if backoff > 0 {
			select {
			case <-s.After(backoff):
			case <-ctx.Done():
			}
		}
		backoff = min(max(2*backoff, minBackoff), maxBackoff)
	}
}

// await returns how the process ended. When ctx ends it is asked to.
func (s *Services) await(ctx context.Context, v *supervised, pid int, exit <-chan syscall.WaitStatus) string {
	var status syscall.WaitStatus
	select {
	case status = <-exit:
		s.Log.Warn("service ended", "service", v.Name, "pid", pid, "end", describe(status))
	case <-ctx.Done():
		_ = syscall.Kill(pid, syscall.SIGTERM)
		status = <-exit
		s.Log.Info("service stopped", "service", v.Name, "pid", pid, "end", describe(status))
	}
	return describe(status)
}

// Stop ends the services, the last started first: each is asked to with SIGTERM,
// and all that still run when grace is over are killed.
func (s *Services) Stop(grace time.Duration) {
	s.mu.Lock()
	running := append([]*supervised(nil), s.running...)
	s.mu.Unlock()
	deadline := s.After(grace)
	late := false
	for i := len(running) - 1; i >= 0; i-- {
		v := running[i]
		v.stop()
		if !late {
			select {
			case <-v.ended:
				continue
			case <-deadline:
				late = true
			}
		}
		s.kill(v)
		<-v.ended
	}
}

func (s *Services) kill(v *supervised) {
	s.mu.Lock()
	pid := v.status.PID
	s.mu.Unlock()
	if pid != 0 {
		s.Log.Warn("service killed: it did not stop in time", "service", v.Name, "pid", pid)
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}
