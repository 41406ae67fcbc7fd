package arcsetup

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/arcinit/arcinit/internal/binfmt"
	"github.com/arcinit/arcinit/internal/kernelfile"
	"github.com/arcinit/arcinit/internal/mounts"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"golang.org/x/sys/unix"
)

// rosettaHandler is for Apple's Rosetta, which is on a share that is mounted on dir.
func rosettaHandler(dir string) *binfmt.Handler { return x8664Handler("rosetta", dir+"/rosetta", "CF") }

// fexHandler is for FEX, which needs the program's argv[0] (P) and the open program (O).
func fexHandler() *binfmt.Handler {
	return x8664Handler("FEX-x86_64", "/arcbox/runtime/bin/FEX", "POCF")
}

// x8664Handler runs x86-64 programs by this interpreter.
func x8664Handler(name, interpreter, flags string) *binfmt.Handler {
	magic, mask := binfmt.Program(binfmt.X8664)
	return &binfmt.Handler{Name: name, Interpreter: interpreter, Flags: flags, Magic: magic, Mask: mask}
}

// rosetta mounts the share with Rosetta and registers the handler.
func (g *Guest) rosetta() (changed bool, err error) {
	if g.machine() != binfmt.AArch64 {
		return false, plan.Absent(errors.New("only arm64 needs it"))
	}
	mounted, err := g.share("rosetta")()
	if err != nil {
		return mounted, err
	}
	c := g.Config()
	share, _ := c.Share("rosetta")
	h := rosettaHandler(share.Path)
	if !g.exists(h.Interpreter) {
		return mounted, plan.Fallback(fmt.Errorf("the share rosetta has no program %s: it cannot run x86-64 programs", filepath.Base(h.Interpreter)))
	}
	registered, err := g.register(h)
	return mounted || registered, err
}

// binfmt registers FEX, if it is there and nothing else runs x86-64 programs, then arcinit.toml's handlers.
// Of two handlers that match a program, the kernel takes the last that was registered.
func (g *Guest) binfmt() (bool, error) {
	handlers := g.Config().Handlers
	if fex := fexHandler(); g.machine() == binfmt.AArch64 && g.exists(fex.Interpreter) && !g.othersRun(fex) {
		handlers = append([]*binfmt.Handler{fex}, handlers...)
	}
	if len(handlers) == 0 {
		return false, plan.Absent(errors.New("no FEX in this guest, and no handlers configured"))
	}
	var r result
	for _, h := range handlers {
		r.add(g.register(h))
	}
	return r.changed, r.err
}

// othersRun reports whether Rosetta, or an interpreter that another program registered, runs the programs that h is for.
func (g *Guest) othersRun(h *binfmt.Handler) bool {
	entries, _ := filepath.Glob(g.path(binfmtPath("*")))
	return slices.ContainsFunc(entries, func(entry string) bool {
		text, _ := kernelfile.Read(entry)
		return strings.Contains(text, fmt.Sprintf("magic %x\n", h.Magic)) && !strings.Contains(text, "interpreter "+h.Interpreter+"\n")
	})
}

// machine returns the processor that the guest's own programs are for.
func (g *Guest) machine() binfmt.Machine {
	machines := map[string]binfmt.Machine{"amd64": binfmt.X8664, "arm64": binfmt.AArch64}
	return machines[cmp.Or(g.Arch, runtime.GOARCH)]
}

// binfmtPath returns the path of a file of binfmt_misc: register, status, or the name of a handler.
func binfmtPath(file string) string { return "/proc/sys/fs/binfmt_misc/" + file }

// register makes the kernel use a handler, after a check of its interpreter.
func (g *Guest) register(h *binfmt.Handler) (changed bool, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("handler %s: %w", h.Name, err)
		}
	}()
	if h.Takes(g.machine()) {
		return false, errors.New("refused: it would match this machine's own programs")
	}
	unfit := g.checkInterpreter(h)
	if unfit != nil {
		if h.Has('F') {
			return false, unfit
		}
		unfit = plan.Fallback(unfit) // the interpreter may come later
	}
	m := mounts.Point{Device: "binfmt_misc", Path: binfmtPath(""), FSType: "binfmt_misc", Magic: unix.BINFMTFS_MAGIC, Flags: mounts.Guarded}
	mounted, err := m.Mount(g.Root)
	if err == nil {
		changed, err = g.writeEntry(h)
	}
	return mounted || changed, errors.Join(unfit, err)
}

// checkInterpreter returns why a handler's interpreter cannot work. With flag F the kernel keeps the interpreter's file
// open, also for containers, which do not have the dynamic loader that the file may need.
func (g *Guest) checkInterpreter(h *binfmt.Handler) error {
	f, err := os.OpenFile(g.path(h.Interpreter), unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("interpreter: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read from
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return fmt.Errorf("interpreter %s: not a regular file", h.Interpreter)
	}
	if !h.Has('F') {
		return nil
	}
	if err := binfmt.CheckStatic(f); err != nil {
		return fmt.Errorf("interpreter %s does not work in containers (flag F): %w", h.Interpreter, err)
	}
	return nil
}

// writeEntry gives the kernel a handler's entry, unless it has the entry. An entry
// cannot be changed except by being enabled, so another one is replaced.
func (g *Guest) writeEntry(h *binfmt.Handler) (bool, error) {
	status, errStatus := g.readFile(binfmtPath("status"))
	text, errEntry := g.readFile(binfmtPath(h.Name))
	if err := errors.Join(errStatus, errEntry); err != nil {
		return false, err
	}
	var r result
	write := func(file, command string) {
		r.add(true, kernelfile.Write(g.path(binfmtPath(file)), command))
	}
	if strings.TrimSpace(status) == "disabled" {
		write("status", "1")
	}
	switch text {
	case h.Entry():
	case strings.Replace(h.Entry(), "enabled", "disabled", 1):
		write(h.Name, "1")
	default:
		if text != "" {
			write(h.Name, "-1")
		}
		write("register", h.Registration())
	}
	return r.changed, r.err
}
