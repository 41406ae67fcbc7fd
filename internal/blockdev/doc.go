// Package blockdev says what is on a block device: which file system, by its
// superblock, and which partitions, by their table. It reads known places, a
// bounded number of bytes, from an io.ReaderAt, and believes nothing of what it
// finds there. It must not know what devices are called or how they are listed,
// nor mount any.
package blockdev
