// Package kmod loads the kernel modules of an image by their names or by the
// aliases of devices, as depmod(8) has indexed them. It must not know what they
// are for.
//
// u-root's kmodule does the same and unpacks modules itself. The decompressors
// for that are 0.75 MB, whose packages take 1.7 ms to be initialized, in every
// process that is this program; here compressed modules are left to the kernel.
package kmod
