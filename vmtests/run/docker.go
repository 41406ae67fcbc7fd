package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
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
{ docker image inspect busybox >/dev/null 2>&1 || docker import --change 'CMD ["sh"]' /arcbox/busybox.tar busybox; } &&
docker run --rm --hostname=container busybox sh -c 'echo "hello from $(hostname), process $$"' >/dev/console"""]
restart = "on-failure"
after = ["dockerd"]

[docker.daemon]
allow-direct-routing = true

[[disk]]
device = "LABEL=docker"
[disk.directories]
"/var/lib/docker" = "docker"
"/var/lib/containerd" = "containerd"
`

// dataSize is the size of the disk with Docker's data, in bytes. It takes space on the host as far as it is used.
const dataSize = 16 << 30

// dataDisk returns the disk with Docker's data, which the next run finds again. A missing one is made.
func dataDisk(build string) (file string, err error) {
	file = filepath.Join(build, "docker-data.ext4")
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		return file, err
	}
	program, err := exec.LookPath("mke2fs")
	if err != nil {
		program = "/usr/sbin/mke2fs" // which PATH need not have
	}
	temp := file + ".tmp"
	if err := os.WriteFile(temp, nil, 0o644); err != nil {
		return "", err
	}
	if err := os.Truncate(temp, dataSize); err != nil {
		return "", err
	}
	if out, err := exec.Command(program, "-q", "-t", "ext4", "-L", "docker", temp).CombinedOutput(); err != nil {
		return "", fmt.Errorf("make the disk for Docker's data: %w: %s", err, out)
	}
	return file, os.Rename(temp, file)
}

// addDocker gives the guest the engine's disk as its root, and puts an image on the share so that no registry is needed.
func addDocker(config *guest.Config, o options, arcbox string) error {
	data, err := dataDisk(o.build)
	if err != nil {
		return err
	}
	config.Disks = []guest.Disk{{File: filepath.Join(o.build, "docker", o.docker+".erofs")}, {File: data, Writable: true}}
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
