// Package binfmt knows what is written to the kernel's binfmt_misc and read from
// it (Documentation/admin-guide/binfmt-misc.rst), and what makes a program fit to
// be an interpreter there. It must not know which handlers there are, and never
// touches the file system of that name.
package binfmt
