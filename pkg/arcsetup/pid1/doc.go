// Package pid1 is what the first process of a system does for life: log to the
// kernel, start processes and wait for them and for every orphan, keep services
// running, take signals, and shut down. It must not know what the set-up does or
// which services there are.
package pid1
