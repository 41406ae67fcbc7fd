package arcsetup

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/arcinit/arcinit/internal/binfmt"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"golang.org/x/sys/unix"
)

// rosettaHandler runs x86-64 programs by Apple's Rosetta, on a share of the host's.
func rosettaHandler() *binfmt.Handler {
	h := &binfmt.Handler{Name: "rosetta", Interpreter: "/media/rosetta/rosetta", Flags: "CF"}
	h.Magic, h.Mask = binfmt.Program(binfmt.X8664)
	return h
}

// fexHandler runs them by FEX, which wants argv[0] kept and the program open.
func fexHandler() *binfmt.Handler {
	h := &binfmt.Handler{Name: "FEX-x86_64", Interpreter: "/arcbox/runtime/bin/FEX", Flags: "POCF"}
	h.Magic, h.Mask = binfmt.Program(binfmt.X8664)
	return h
}

// rosetta mounts the share that has Rosetta and registers it. The share is the
// host's to offer; what is on it may be broken.
func (g *Guest) rosetta() (changed bool, err error) {
	if g.machine() != binfmt.AArch64 {
		return false, plan.Absent(errors.New("only arm64 needs it"))
	}
	h := rosettaHandler()
	share := virtiofs("rosetta", filepath.Dir(h.Interpreter))
	share.flags = unix.MS_RDONLY
	mounted, err := g.optionalShare(share)
	if err != nil {
		return mounted, err
	}
	if _, err := os.Stat(g.path(h.Interpreter)); errors.Is(err, os.ErrNotExist) {
		return mounted, plan.Fallback(fmt.Errorf("the share rosetta has no program %s: no x86-64 programs by it", filepath.Base(h.Interpreter)))
	}
	registered, err := g.register(h)
	return mounted || registered, err
}

// binfmt registers the other handlers: FEX where it is and Rosetta is not, then
// what arcinit.toml names. Of two that take a program, the kernel asks the one that
// was registered last.
func (g *Guest) binfmt() (changed bool, err error) {
	handlers := g.Config.Handlers
	if fex := fexHandler(); g.machine() == binfmt.AArch64 && g.exists(fex.Interpreter) && !g.exists(binfmtPath("rosetta")) {
		handlers = append([]*binfmt.Handler{fex}, handlers...)
	}
	if len(handlers) == 0 {
		return false, plan.Absent(errors.New("none here, and none configured"))
	}
	for _, h := range handlers {
		c, e := g.register(h)
		changed, err = changed || c, errors.Join(err, e)
	}
	return changed, err
}

// machine is the guest's processor, as its programs name it.
func (g *Guest) machine() binfmt.Machine {
	switch cmp.Or(g.Arch, runtime.GOARCH) {
	case "amd64":
		return binfmt.X8664
	case "arm64":
		return binfmt.AArch64
	}
	return 0
}

// binfmtPath is where a file of binfmt_misc is: register, status, or a handler's.
func binfmtPath(file string) string { return "/proc/sys/fs/binfmt_misc/" + file }

// register has the kernel know a handler, as it is here, and heed it.
func (g *Guest) register(h *binfmt.Handler) (changed bool, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("handler %s: %w", h.Name, err)
		}
	}()
	if h.Takes(g.machine()) {
		return false, errors.New("refused: it would take this machine's own programs")
	}
	unfit := g.checkInterpreter(h)
	if unfit != nil {
		if h.Has('F') {
			return false, unfit
		}
		unfit = plan.Fallback(unfit) // without F it may come yet
	}
	mounted, err := g.mountMade(mountPoint{
		device: "binfmt_misc", path: binfmtPath(""), fsType: "binfmt_misc", magic: unix.BINFMTFS_MAGIC,
		flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC,
	})
	if err != nil {
		return mounted, errors.Join(unfit, err)
	}
	told, err := g.tellBinfmt(h)
	return mounted || told, errors.Join(unfit, err)
}

// checkInterpreter reports why a handler's interpreter cannot work. With flag F the
// kernel opens its file once, and a process in a container has that file alone: one
// that wants a dynamic loader would look for it among the container's files.
func (g *Guest) checkInterpreter(h *binfmt.Handler) error {
	file := g.path(h.Interpreter)
	if st, err := os.Stat(file); err != nil {
		return fmt.Errorf("interpreter: %w", err)
	} else if !st.Mode().IsRegular() {
		return fmt.Errorf("interpreter %s: not a regular file", h.Interpreter)
	}
	if !h.Has('F') {
		return nil
	}
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("interpreter: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read from
	if err := binfmt.CheckStatic(f); err != nil {
		return fmt.Errorf("interpreter %s does not work in containers (flag F): %w", h.Interpreter, err)
	}
	return nil
}

// tellBinfmt makes the kernel's entry for a handler say what it should. An entry
// cannot be changed, but for being enabled.
func (g *Guest) tellBinfmt(h *binfmt.Handler) (changed bool, err error) {
	tell := func(file, what string) error {
		changed = true
		return os.WriteFile(g.path(binfmtPath(file)), []byte(what), 0)
	}
	if status, err := g.readFile(binfmtPath("status")); err != nil {
		return changed, err
	} else if strings.TrimSpace(status) == "disabled" {
		if err := tell("status", "1"); err != nil {
			return changed, err
		}
	}
	text, err := g.readFile(binfmtPath(h.Name))
	if err != nil {
		return changed, err
	}
	if text != "" {
		there, enabled, err := binfmt.ParseEntry(h.Name, text)
		if err == nil && there.Same(h) {
			if !enabled {
				err = tell(h.Name, "1")
			}
			return changed, err
		}
		if err := tell(h.Name, "-1"); err != nil {
			return changed, err
		}
	}
	return changed, tell("register", h.Registration())
}
