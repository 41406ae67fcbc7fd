// Package config says what the set-up may be told: the kernel command line, the
// host's arcinit.toml, and the VMM's own file for the sandbox subnet. It parses
// and validates; it touches nothing but the files it reads, and must not know
// what the values are used for.
//
// Nothing here is fatal. Each function returns what is usable and, beside it,
// an error for each thing that is not, naming the thing and the place.
package config
