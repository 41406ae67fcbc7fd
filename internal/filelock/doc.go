// Package filelock has processes wait for each other. It must not know what for.
package filelock
