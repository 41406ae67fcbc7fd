// Package process starts programs, reaps them and every orphan, keeps services
// running, and shuts the system down. It must not know what the set-up does or
// which services there are.
package process
