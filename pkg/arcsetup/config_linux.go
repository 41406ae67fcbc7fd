package arcsetup

import (
	"errors"
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

// configure reads all that the host has to say. All of it has a default, so what
// is refused is a warning.
func (g *Guest) configure() (bool, error) {
	readFile := func(path string) ([]byte, error) { return os.ReadFile(g.path(path)) }
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
