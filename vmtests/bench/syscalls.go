package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// countSyscalls counts PID 1's system calls until the agent starts, in one boot of each flow. QEMU logs the processor's
// registers at each entry into the kernel, so the count does not change the guest. On arm64 QEMU's log has no page table, by
// which to tell processes from each other, so there is no count.
func (b *bench) countSyscalls(ctx context.Context, flows ...flow) (map[flow]int, error) {
	if b.arch != "amd64" {
		return nil, nil
	}
	entry, err := b.entry(ctx)
	if err != nil {
		return nil, err
	}
	counts := map[flow]int{}
	for _, f := range flows {
		log := filepath.Join(b.dir, "syscalls")
		config := b.config(f, counted)
		config.Timeout = longBoot
		// With nochain each block of code returns to QEMU, which logs the registers only then.
		config.ExtraQEMU = []string{"-d", "cpu,nochain", "-dfilter", entry + "+1", "-D", log}
		if _, err := b.boot(ctx, f, config); err != nil {
			return nil, err
		}
		text, err := os.Open(log)
		if err != nil {
			return nil, fmt.Errorf("read QEMU's log: %w", err)
		}
		counts[f], err = syscallsOfFirst(text, f != reference)
		if err := errors.Join(err, text.Close()); err != nil {
			return nil, fmt.Errorf("syscalls of %s: %w", f, err)
		}
		fmt.Printf("%s: %d system calls of PID 1 until the agent starts\n", f, counts[f])
	}
	return counts, nil
}

// entry returns the address of the kernel's entry for system calls. The address is the same in every boot, because QEMU
// starts this kernel through PVH, which does not randomize the kernel's place in memory.
func (b *bench) entry(ctx context.Context) (string, error) {
	config := b.config(initramfs, wall[0])
	config.Cmdline = append(config.Cmdline, "stopwatch.symbols")
	g, err := b.start(ctx, initramfs, config, nil)
	if err != nil {
		return "", err
	}
	defer g.remove()
	if err := g.WaitConsole(ctx, upMark); err != nil {
		return "", err
	}
	symbols, err := os.ReadFile(filepath.Join(g.arcbox, "stopwatch", "kallsyms"))
	if err != nil {
		return "", fmt.Errorf("read the kernel's symbols: %w", err)
	}
	m := regexp.MustCompile(`(?m)^([0-9a-f]{16}) T entry_SYSCALL_64$`).FindSubmatch(symbols)
	if m == nil {
		return "", errors.New("the kernel's symbols do not have entry_SYSCALL_64")
	}
	return "0x" + string(m[1]), nil
}

// System calls after which a process may have another address space (arch/x86/entry/syscalls/syscall_64.tbl), and the flag
// of a child that borrows its parent's until it executes a program (clone(2)).
const (
	sysClone   = 56
	sysVfork   = 58
	sysExecve  = 59
	cloneVfork = 0x4000
)

// syscallsOfFirst reads a log of the registers at each system call, and counts the calls of the process that makes the first
// one. It counts up to the execve that starts the agent, in that process or in a child in its address space: the first of a
// child in arcinit's flows, else the last of all. Calls that such a child makes before it executes a program count, too. The
// guest has one processor, so the log is in order.
func syscallsOfFirst(log io.Reader, firstChild bool) (int, error) {
	var count, atExec int
	var first uint64
	var forked, executed bool
	registers := map[string]uint64{}
	for lines := bufio.NewScanner(log); ; {
		if !lines.Scan() {
			if err := lines.Err(); err != nil {
				return 0, fmt.Errorf("read QEMU's log: %w", err)
			}
			break
		}
		for _, word := range strings.Fields(lines.Text()) {
			name, value, ok := strings.Cut(word, "=")
			if !ok || (name != "RAX" && name != "RDI" && name != "CR3") {
				continue
			}
			n, err := strconv.ParseUint(value, 16, 64)
			if err != nil {
				return 0, fmt.Errorf("QEMU's log: %q: %w", word, err)
			}
			registers[name] = n
			if name != "CR3" {
				continue
			}
			// CR3 completes a set of registers. It holds the address of the page table, and flags, which space leaves out.
			space := n &^ (1<<63 | 0x1fff)
			if first == 0 || (executed && space != first) {
				first = space
			}
			if space != first {
				continue
			}
			executed = false
			count++
			switch registers["RAX"] {
			case sysVfork:
				forked = true
			case sysClone:
				forked = forked || registers["RDI"]&cloneVfork != 0
			case sysExecve:
				atExec = count
				if forked && firstChild {
					return atExec, nil
				}
				// Without a fork, the process itself becomes another program and gets a new address space.
				executed, forked = !forked, false
			}
		}
	}
	if atExec == 0 {
		return 0, errors.New("no program was executed")
	}
	return atExec, nil
}
