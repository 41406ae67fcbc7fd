// Package kconfig reads configurations of Linux kernels and checks them for the symbols that a container engine needs. It
// must not know how a kernel is built or booted.
package kconfig
