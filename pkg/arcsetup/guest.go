package arcsetup

import (
	"net/netip"
	"path/filepath"
	"time"

	"github.com/arcinit/arcinit/internal/kmod"
	"github.com/arcinit/arcinit/pkg/arcsetup/config"
)

// Guest is the system that the plan sets up, and what the plan wants of the
// program that runs it. The functions are called from steps and follow the
// rules of plan.Func.
type Guest struct {
	// Root is where the guest's files are: "/", or a directory in tests.
	Root string
	// Arch is the guest's processor, as in GOARCH; empty is that of this program.
	Arch string
	// OwnRoot says that the root is this process's to change: it is PID 1.
	OwnRoot bool
	// Program is a file that is the program which looks after the guest, such
	// as /proc/PID/exe. The kernel will run it as ProgramPath, with the
	// arguments `modprobe SCRIPT -q -- MODULE`.
	Program string
	// Environ are variables from outside that the set-up heeds, as in
	// os.Environ. The kernel passes unknown NAME=value parameters this way.
	Environ []string

	// BuildTime is a time that is over; zero if none is known.
	BuildTime time.Time

	// After is a timer (time.After).
	After func(time.Duration) <-chan time.Time

	// Waiting, if any, is told what the plan waits for, when that takes long,
	// and what there is so far.
	Waiting func(what string, taken time.Duration, there string)
	// Configured is told the configuration: first what the kernel command
	// line says, and again when the files have been read.
	Configured func(config.Config)
	// OpenLog starts the log files on the share, which is mounted.
	OpenLog func() (changed bool, err error)
	// Protect keeps this process from the kernel's out-of-memory killer, and what
	// it starts as usual.
	Protect func() (changed bool, err error)
	// TakeSignals keeps signals that mean nothing from ending this process.
	TakeSignals func() (changed bool, err error)
	// WatchPowerButton shuts the guest down when its power button is pressed.
	WatchPowerButton func() (changed bool, err error)
	// WatchDevices keeps LoadDrivers running.
	WatchDevices func() (changed bool, err error)
	// RootChanged is told that / is another file system now.
	RootChanged func()
	// StartConsole starts a root shell on the console.
	StartConsole func() (changed bool, err error)
	// StartNetwork starts the network daemon.
	StartNetwork func() (changed bool, err error)
	// SaveReport writes what has come of the steps so far into ReportPath.
	SaveReport func() (changed bool, err error)
	// StartAgent starts the agent, StartServices those that the host configures.
	StartAgent    func() (changed bool, err error)
	StartServices func() (changed bool, err error)

	// Config and SandboxSubnet are complete after the step "config"; steps
	// that use them need it.
	Config        config.Config
	SandboxSubnet netip.Prefix

	// commandLine is set by the step "early".
	commandLine config.CommandLine

	// loader is set by the step "modules", if there are any.
	loader *kmod.Loader
}

// path returns where the guest's file p is.
func (g *Guest) path(p string) string { return filepath.Join(g.Root, p) }

// Where the guest keeps what arcinit writes.
const (
	// RunDir is new at each boot.
	RunDir = "/run/arcbox"
	// ReportPath is the report of the boot; HostReportPath its copy on the share.
	ReportPath     = RunDir + "/boot.json"
	HostReportPath = "/arcbox/log/boot.json"
	// ProgramPath is the program that looks after the guest, whatever the root.
	ProgramPath = RunDir + "/bin/uinit"
	// LogPath is the log file on the share, OutputPath what the services say.
	LogPath    = "/arcbox/log/arcinit.log"
	OutputPath = "/arcbox/log/services.log"
)
