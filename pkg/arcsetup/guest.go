// Package arcsetup sets up the guest of a container VM. Plan lists the steps in the order of the boot, and each file
// has the steps of one concern. Another init can take the plan, drop steps (plan.Without) and add its own.
//
// The package must not know which process runs the plan, PID 1 or another: it calls the functions in
// Guest instead. It never exits, never logs, and keeps no state of its own.
package arcsetup

import (
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/arcinit/arcinit/internal/kmod"
	"github.com/arcinit/arcinit/pkg/arcsetup/config"
)

// Guest is the system that the plan sets up.
type Guest struct {
	// Root is the directory of the guest's files: "/", or another one in tests.
	Root string
	// Arch is the guest's architecture as in GOARCH; empty means this program's.
	Arch string
	// OwnRoot allows the steps to change the root: this process is PID 1.
	OwnRoot bool
	// Program is the program that runs the guest, for example /proc/PID/exe. The
	// kernel runs it as ProgramPath with the arguments `modprobe SCRIPT -q -- MODULE`.
	Program string
	// Environ is the environment that the kernel passed on, as in os.Environ: unknown NAME=value parameters of its command line.
	Environ []string
	// BuildTime is the lower bound of the clock; zero if unknown.
	BuildTime time.Time
	// After is a timer (time.After).
	After func(time.Duration) <-chan time.Time

	// Waiting, if not nil, is called when a step has waited for long: what it waits for, for how long so far, and what is there instead.
	Waiting func(what string, taken time.Duration, there string)
	// Configured, if not nil, is called with the configuration: once the kernel command line has been read, and again once the files have been read.
	Configured func(config.Config)
	// Run runs a program of the root to its end, and returns its exit code and its output; nil if this process cannot.
	Run func(argv ...string) (code int, output string, err error)
	// RootChanged, if not nil, is called when / has become another file system.
	RootChanged func()

	// What steps hand on to others. A step may end when others have long gone on without it, so all but
	// commandLine, which the step early reads from the kernel, is atomic.
	commandLine  config.CommandLine
	config       atomic.Pointer[config.Config]          // complete after the step config
	image        atomic.Pointer[func() ([]byte, error)] // reads the image's configuration file again; nil without one
	newID        atomic.Bool                            // set by the step machineid if the share has no machine id
	loader       atomic.Pointer[kmod.Loader]            // set by the step modules; nil if there are no modules
	rootDecided  atomic.Bool                            // the root becomes /, or was given up
	disksGivenUp atomic.Bool                            // the boot has gone on without the disks
	covering     sync.Mutex                             // held while a directory of a read-only root is covered
}

// Config returns the configuration as far as it has been read. It is complete after the step config.
func (g *Guest) Config() config.Config {
	if c := g.config.Load(); c != nil {
		return *c
	}
	return config.Default()
}

// RootExpected reports whether the kernel command line names a root that the step switchroot is to mount.
func (g *Guest) RootExpected() bool {
	root, _ := g.commandLine.Root()
	return root.Device != "" && g.OwnRoot
}

// HasModules reports whether there are modules for this kernel. It is valid after the step switchroot.
func (g *Guest) HasModules() bool { return g.loader.Load() != nil }

// path returns the path of the guest's file p.
func (g *Guest) path(p string) string { return filepath.Join(g.Root, p) }

// Paths of the files that arcinit writes.
const (
	// RunDir is empty at each boot.
	RunDir = "/run/arcbox"
	// ReportPath is the boot report, HostReportPath its copy on the share.
	ReportPath     = RunDir + "/boot.json"
	HostReportPath = "/arcbox/log/boot.json"
	// ProgramPath is the program that runs the guest, whatever the root is.
	ProgramPath = RunDir + "/bin/uinit"
	// LogPath is arcinit's log on the share, OutputPath the services' output.
	LogPath    = "/arcbox/log/arcinit.log"
	OutputPath = "/arcbox/log/services.log"
)
