// Package logs formats log records and writes them to the kernel log, the
// console and files on a share. It must not know who logs what.
package logs
