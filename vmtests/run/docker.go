package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/arcinit/arcinit/vmtests/busybox"
	"github.com/arcinit/arcinit/vmtests/guest"
)

// engineTime is how long a boot with an engine may take without a terminal.
const engineTime = 6 * time.Minute

// containerMark matches what the first container says, which comes on the guest's console.
var containerMark = regexp.MustCompile(`(?m)^hello from (\S+, process 1)\r?$`)

// engineServices has arcinit start the engine, import the image, which fails until the engine is there, and run a container.
const engineServices = `
[[service]]
name = "containerd"
argv = ["/usr/bin/containerd"]

[[service]]
name = "dockerd"
argv = ["/usr/sbin/dockerd", "--containerd=/run/containerd/containerd.sock"]
after = ["containerd"]

[[service]]
name = "container"
argv = ["/bin/sh", "-c", """
docker version >/dev/null &&
docker import --change 'CMD ["sh"]' /arcbox/busybox.tar busybox &&
docker run --rm --hostname=container busybox sh -c 'echo "hello from $(hostname), process $$"' >/dev/console"""]
restart = "on-failure"
after = ["dockerd"]

[docker.daemon]
allow-direct-routing = true
`

// addDocker has the guest go on in the engine's disk and run it, with an image at hand that needs no registry.
func addDocker(config *guest.Config, o options, arcbox string) error {
	config.Disks = []guest.Disk{{File: filepath.Join(o.build, "docker", o.docker+".erofs")}}
	config.Cmdline = append(config.Cmdline, "root=/dev/vda", "ro", "rootfstype=erofs")
	config.CPUs, config.MemoryMiB, config.Timeout = 2, 1024, engineTime
	if err := busybox.WriteImage(filepath.Join(arcbox, "busybox.tar"), filepath.Join(o.build, "swapin", "usr", "bin", "busybox")); err != nil {
		return err
	}
	file := filepath.Join(arcbox, "etc", "arcinit.toml")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("configure the guest: %w", err)
	}
	if err := os.WriteFile(file, []byte(engineServices), 0o644); err != nil {
		return fmt.Errorf("configure the guest: %w", err)
	}
	return nil
}
