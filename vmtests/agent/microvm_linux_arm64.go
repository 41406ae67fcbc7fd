package main

import (
	"errors"
	"os"
)

// microVM is only known for amd64: QEMU's arm64 machine has no KVM in its guests
// unless it is asked for.
func microVM(*os.File) (string, error) {
	return "", errors.ErrUnsupported
}
