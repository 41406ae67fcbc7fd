package config_test

import (
	"fmt"
	"io/fs"

	"github.com/arcinit/arcinit/pkg/arcsetup/config"
)

// The kernel command line overrides the host's file. A wrong value is refused alone, and the rest is used.
func ExampleLoad() {
	cmdline := config.ParseCommandLine("console=hvc0 arcbox.hostname=builder arcbox.log=debug")
	c, err := config.Load(cmdline, func(path string) ([]byte, error) {
		if path == config.DefaultFile {
			return []byte("hostname = \"docker\"\nlog = \"loud\"\n[memory]\nzram = \"50%\"\n"), nil
		}
		return nil, fs.ErrNotExist
	})
	fmt.Println(c.Hostname, c.Log, c.Zram)
	fmt.Println(err)
	// Output:
	// builder DEBUG 50
	// /arcbox/etc/arcinit.toml: log: log level "loud" is not debug, info, warn or error; using INFO
}
