// Package blockdev finds a block device by its name in root= on the kernel command
// line. It reads the superblock, which gives the file system, and the partition
// table, from known places, a bounded number of bytes, and trusts nothing that it
// finds there. It must not mount any device.
package blockdev
