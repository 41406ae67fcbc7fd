package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/arcinit/arcinit/vmtests/probe"
	"golang.org/x/sys/unix"
)

// RunWithout runs a program in its own mount namespace, where one mount is unmounted.
func (g *Guest) RunWithout(w probe.Without, reply *probe.Result) error {
	cmd := exec.Command("/proc/self/exe", append([]string{"without", w.Mount}, w.Argv...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	return run(cmd, reply)
}

// without unmounts a mount and executes another program.
func without(mount string, argv []string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	if err := unix.Unmount(mount, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount %s: %w", mount, err)
	}
	return fmt.Errorf("run %s: %w", argv[0], unix.Exec(argv[0], argv, os.Environ()))
}

// Files returns the content of a directory's regular files, by name, and the errors of
// all files that it cannot read.
func (g *Guest) Files(dir string, reply *map[string]string) error {
	paths, err := filepath.Glob(dir + "/*")
	*reply = map[string]string{}
	for _, path := range paths {
		st, e := os.Lstat(path)
		if e != nil || !st.Mode().IsRegular() {
			err = errors.Join(err, e)
			continue
		}
		text, e := os.ReadFile(path)
		err = errors.Join(err, e)
		(*reply)[filepath.Base(path)] = string(text)
	}
	return err
}

// printFiles prints the result of Files as JSON.
func printFiles(dir string) error {
	var files map[string]string
	if err := (&Guest{}).Files(dir, &files); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(files)
}
