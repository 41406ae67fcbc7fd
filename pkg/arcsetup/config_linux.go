package arcsetup

import (
	"errors"
	"os"
	"strings"

	"github.com/arcinit/arcinit/pkg/arcsetup/config"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// configure reads what the host has to say. All of it has a default, so what is
// refused is a warning.
func (g *Guest) configure() (bool, error) {
	text, errLine := g.readFile("/proc/cmdline")
	cmdline := config.ParseCommandLine(text)
	readFile := func(path string) ([]byte, error) { return os.ReadFile(g.path(path)) }

	var errConfig, errSubnet error
	g.Config, errConfig = config.Load(cmdline, readFile)
	g.SandboxSubnet, errSubnet = config.SandboxSubnet(g.vmmConfig(cmdline), readFile)
	if g.Configured != nil {
		g.Configured(g.Config)
	}
	if err := errors.Join(errLine, errConfig, errSubnet); err != nil {
		return false, plan.Fallback(err)
	}
	return false, nil
}

// vmmConfig is the path that the environment gives. Under another init the
// kernel's parameters may not have reached this process's environment.
func (g *Guest) vmmConfig(cmdline config.CommandLine) string {
	for _, v := range g.Environ {
		if path, ok := strings.CutPrefix(v, config.VMMConfigKey+"="); ok {
			return path
		}
	}
	path, _ := cmdline.Lookup(config.VMMConfigKey)
	return path
}
