// Package arcsetup is the set-up of a container VM's guest, written as a plan:
// Plan lists the steps in the order of the boot, each other file holds one
// concern of it. Another init can take the plan, drop steps (plan.Without) and
// add its own.
//
// The package must not know which process runs the plan, PID 1 or another: what
// it wants of the program around it are the functions in Guest. It never exits,
// never logs, and keeps no state of its own.
package arcsetup
