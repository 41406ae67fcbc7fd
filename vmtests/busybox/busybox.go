// Package busybox makes a container image of busybox, so that tests can run containers without a registry.
package busybox

import (
	"archive/tar"
	"errors"
	"fmt"
	"os"
	"strings"
)

// commands are the busybox commands that the image has links for.
const commands = `sh cat cp dd df echo env free grep head hostname httpd id ip kill ls mkdir mount mv nc netstat nslookup ping
ps pwd rm sed sleep sort stat tail timeout top touch tr tty umount uname vi wc wget`

// WriteImage writes a container's root file system for docker import: a static busybox and links to it.
func WriteImage(path, program string) (err error) {
	content, err := os.ReadFile(program)
	if err != nil {
		return fmt.Errorf("read busybox: %w", err)
	}
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("make a container image: %w", err)
	}
	w := tar.NewWriter(file)
	defer func() {
		if err = errors.Join(err, w.Close(), file.Close()); err != nil {
			err = fmt.Errorf("write the container image %s: %w", path, err)
		}
	}()
	for _, dir := range []string{"bin", "tmp", "www"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}); err != nil {
			return err
		}
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "bin/busybox", Mode: 0o755, Size: int64(len(content))}); err != nil {
		return err
	}
	if _, err := w.Write(content); err != nil {
		return err
	}
	for command := range strings.FieldsSeq(commands) {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + command, Linkname: "busybox"}); err != nil {
			return err
		}
	}
	return nil
}
