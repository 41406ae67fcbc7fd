// Package arcsetup sets up the guest of a container VM. Plan lists the steps in the order of the boot, and each file
// has the steps of one concern. Another init can take the plan, drop steps (plan.Without) and add its own.
//
// The package must not know which process runs the plan, PID 1 or another: it calls the functions in
// Guest instead. It never exits, never logs, and keeps no state of its own.
package arcsetup
