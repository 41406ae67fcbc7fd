// Package notify tells the host how the guest is, in the assignments of
// sd_notify(3): READY=1, STATUS=, ERRNO=, STOPPING=1. A VMM that listens for a
// guest under systemd (systemd's credential vmm.notify_socket) hears the same
// from this one. The package knows nothing of what is told, nor of what a guest
// is; it never makes its caller wait.
package notify
