package arcsetup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/arcinit/arcinit/internal/kernelfile"
	"github.com/arcinit/arcinit/internal/regular"
	"github.com/arcinit/arcinit/pkg/arcsetup/config"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"golang.org/x/sys/unix"
)

// readCommandLine applies the kernel command line and the image's configuration file; the host's file is on a share that is not there yet.
func (g *Guest) readCommandLine() error {
	text, err := kernelfile.Read(g.path("/proc/cmdline"))
	g.commandLine = config.ParseCommandLine(text)
	g.readImageConfig(g.path(config.ImageFile))
	return err
}

// readImageConfig applies the image's configuration file, which has this path now, in place of the initramfs's. The step config returns its errors.
func (g *Guest) readImageConfig(path string) {
	text, err := regular.Read("/", path, maxConfig, checkFile)
	if !errors.Is(err, fs.ErrNotExist) {
		g.image.Store(new(func() ([]byte, error) { return text, err }))
	}
	c, _ := config.Load(g.commandLine, func(path string) ([]byte, error) {
		if path == config.ImageFile {
			return g.readConfig(path)
		}
		return nil, fs.ErrNotExist
	})
	g.setConfig(c)
}

// readConfig reads a configuration file. The image's was read before, when it was in sight.
func (g *Guest) readConfig(path string) ([]byte, error) {
	if read := g.image.Load(); read != nil && path == config.ImageFile {
		return (*read)()
	}
	return regular.Read(g.Root, path, maxConfig, checkFile)
}

// keepImageConfig puts the initramfs's configuration file into /etc, for a second run, if the root has none.
func (g *Guest) keepImageConfig() (changed bool, err error) {
	if read := g.image.Load(); read != nil && !g.exists(config.ImageFile) {
		if text, err := (*read)(); err == nil {
			return g.writeFile(config.ImageFile, string(text), 0o644)
		}
	}
	return false, nil
}

func (g *Guest) setConfig(c config.Config) {
	g.config.Store(&c)
	if g.Configured != nil {
		g.Configured(c)
	}
}

// maxConfig is the largest configuration file, in bytes. It bounds the depth of nested brackets: PID 1 would die if the decoder overflowed its stack.
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
	c, errConfig := config.Load(g.commandLine, g.readConfig)
	var errSubnet error
	c.SandboxSubnet, errSubnet = config.SandboxSubnet(g.vmmConfig(), g.readConfig)
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

// Configured returns the configuration of the running system, as far as its files can be read.
func Configured() config.Config {
	g := &Guest{Root: "/"}
	_ = g.readCommandLine()
	_, _ = g.configure()
	return g.Config()
}
