package arcsetup

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/arcinit/arcinit/pkg/arcsetup/config"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// readCommandLine takes over what the kernel command line says, so that it holds
// from the first step on; the files are on mounts that are still to come.
func (g *Guest) readCommandLine() error {
	text, err := g.readFile("/proc/cmdline")
	g.commandLine = config.ParseCommandLine(text)
	g.setConfig(g.commandLine.Config())
	return err
}

func (g *Guest) setConfig(c config.Config) {
	g.Config = c
	if g.Configured != nil {
		g.Configured(c)
	}
}

// maxConfig bounds a configuration file, in bytes. It is far more than anyone
// writes, and too little for brackets nested so deep that the decoder's stack
// overflows, of which no recover saves PID 1.
const maxConfig = 64 << 10

func readAtMost(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read from
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		return nil, fmt.Errorf("%s: more than %d bytes", path, limit)
	}
	return text, err
}

// configure reads all that the host has to say. All of it has a default, so what
// is refused is a warning.
func (g *Guest) configure() (bool, error) {
	readFile := func(path string) ([]byte, error) { return readAtMost(g.path(path), maxConfig) }
	c, errConfig := config.Load(g.commandLine, readFile)
	g.setConfig(c)
	var errSubnet error
	g.SandboxSubnet, errSubnet = config.SandboxSubnet(g.vmmConfig(), readFile)
	if err := errors.Join(errConfig, errSubnet); err != nil {
		return false, plan.Fallback(err)
	}
	return false, nil
}

// vmmConfig is the path that the environment gives. Under another init the
// kernel's parameters may not have reached this process's environment.
func (g *Guest) vmmConfig() string {
	for _, v := range g.Environ {
		if path, ok := strings.CutPrefix(v, config.VMMConfigKey+"="); ok {
			return path
		}
	}
	path, _ := g.commandLine.Lookup(config.VMMConfigKey)
	return path
}
