package main

import (
	"fmt"
	"path/filepath"
	"regexp"
	"time"

	"github.com/arcinit/arcinit/vmtests/busybox"
	"github.com/arcinit/arcinit/vmtests/guest"
)

// engineTime is how long an unattended guest with an engine may take from start to power-off.
const engineTime = 6 * time.Minute

// containerMark matches the line that the first container writes to the guest's console.
var containerMark = regexp.MustCompile(`(?m)^hello from (\S+, process 1)\r?$`)

// engineServices configures arcinit to start the engine, import the image and run a container. Until the engine answers, the
// import fails and arcinit retries it.
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

// addDocker gives the guest the engine's disk as its root, and puts an image on the share so that no registry is needed.
func addDocker(config *guest.Config, o options, arcbox string) error {
	config.Disks = []guest.Disk{{File: filepath.Join(o.build, "docker", o.docker+".erofs")}}
	config.Cmdline = append(config.Cmdline, "root=/dev/vda", "ro", "rootfstype=erofs")
	config.CPUs, config.MemoryMiB, config.Timeout = 2, 1024, engineTime
	if err := busybox.WriteImage(filepath.Join(arcbox, "busybox.tar"), filepath.Join(o.build, "swapin", "usr", "bin", "busybox")); err != nil {
		return err
	}
	if err := write(filepath.Join(arcbox, "etc", "arcinit.toml"), []byte(engineServices), 0o644); err != nil {
		return fmt.Errorf("configure the guest: %w", err)
	}
	return nil
}
