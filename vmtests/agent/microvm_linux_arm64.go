package main

import (
	"errors"
	"os"
)

// microVM exists for amd64 only: guests of QEMU's arm64 machine have no KVM by default.
func microVM(*os.File) (string, error) {
	return "", errors.ErrUnsupported
}
