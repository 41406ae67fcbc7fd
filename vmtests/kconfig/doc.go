// Package kconfig reads configurations of Linux kernels, and knows which symbols a container engine asks for. It must not
// know how a kernel is built or booted.
package kconfig
