package arcsetup

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/arcinit/arcinit/internal/kernelfile"
	"github.com/arcinit/arcinit/internal/regular"
	"github.com/arcinit/arcinit/pkg/arcsetup/config"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"golang.org/x/sys/unix"
)

// readCommandLine applies the kernel command line. The configuration files come
// later, from mounts that are not there yet.
func (g *Guest) readCommandLine() error {
	text, err := kernelfile.Read(g.path("/proc/cmdline"))
	g.commandLine = config.ParseCommandLine(text)
	g.setConfig(g.commandLine.Config())
	return err
}

func (g *Guest) setConfig(c config.Config) {
	g.config.Store(&c)
	if g.Configured != nil {
		g.Configured(c)
	}
}

// maxConfig is the largest configuration file, in bytes. It bounds the depth of nested
// brackets: PID 1 would die if the decoder overflowed its stack.
const maxConfig = 64 << 10

// checkFile refuses a configuration file that others than root may write to, because it names programs that root runs.
// Owners and groups on a share are the host's.
func checkFile(f *os.File) error {
	var st unix.Stat_t
	var fs unix.Statfs_t
	if err := errors.Join(unix.Fstat(int(f.Fd()), &st), unix.Fstatfs(int(f.Fd()), &fs)); err != nil {
		return err
	}
	return checkWriters(st.Mode, st.Uid, fs.Type == unix.FUSE_SUPER_MAGIC || fs.Type == unix.V9FS_MAGIC)
}

func checkWriters(mode, owner uint32, onShare bool) error {
	if owner != 0 && !onShare {
		return fmt.Errorf("file refused: user %d owns it, not root", owner)
	}
	if mode&0o002 != 0 || mode&0o020 != 0 && !onShare {
		return fmt.Errorf("file refused: not only its owner may write to it (mode %04o)", mode&0o7777)
	}
	return nil
}

// configure reads the configuration files. Each setting has a default, so an invalid one is only a warning.
func (g *Guest) configure() (bool, error) {
	readFile := func(path string) ([]byte, error) { return regular.Read(g.Root, path, maxConfig, checkFile) }
	c, errConfig := config.Load(g.commandLine, readFile)
	var errSubnet error
	c.SandboxSubnet, errSubnet = config.SandboxSubnet(g.vmmConfig(), readFile)
	g.setConfig(c)
	if err := errors.Join(errConfig, errSubnet); err != nil {
		return false, plan.Fallback(err)
	}
	return false, nil
}

// vmmConfig returns the path of the VMM's configuration from the environment, or from
// the kernel command line: another init may not pass on its environment.
func (g *Guest) vmmConfig() string {
	for _, v := range g.Environ {
		if path, ok := strings.CutPrefix(v, config.VMMConfigKey+"="); ok {
			return path
		}
	}
	path, _ := g.commandLine.Lookup(config.VMMConfigKey)
	return path
}
