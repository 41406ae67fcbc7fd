package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/arcinit/arcinit/vmtests/guest"
)

// scale boots guests with many devices, with long command lines, and many guests at once, and writes scale.md. If a time
// grows more than in proportion, it writes no page and returns an error that names the parts concerned.
func scale(ctx context.Context, b *bench, docs string) error {
	var page strings.Builder
	fmt.Fprintf(&page, "# How the boot grows\n\n`make bench-scale` measured this on %s. The command fails if the time grows more than in proportion.\n",
		time.Now().UTC().Format(time.DateOnly))
	var complaints []error
	for _, part := range []func(context.Context, *bench, *strings.Builder) error{scaleDevices, scaleCommandLine, scaleGuests} {
		shown := page.Len()
		err := part(ctx, b, &page)
		fmt.Print(page.String()[shown:])
		var superlinear superlinearError
		if err != nil && !errors.As(err, &superlinear) {
			return err
		}
		complaints = append(complaints, err)
	}
	if err := errors.Join(complaints...); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(docs, "scale.md"), []byte(page.String()), 0o644); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

// superlinearError reports a time that grows more than in proportion.
type superlinearError struct{ what string }

func (e superlinearError) Error() string { return e.what + ": grows more than in proportion" }

// scaleGuests boots 1 to 16 guests at once and measures by the host's clock. The guests share the processors, so twice as many
// take at least twice as long.
func scaleGuests(ctx context.Context, b *bench, page *strings.Builder) error {
	fmt.Fprintf(page, "\n## Guests at once\n\nEmulated on %d processors. Each guest has one processor and 512 MiB. The time is from the start of the first guest to the agent of the slowest.\n"+
		"Memory is the host's, for QEMU and the daemons of three shares, with shared pages counted once. While a guest waits for its processor, timer ticks\n"+
		"add up, one a millisecond, and it has to handle them later. So twice as many guests may take up to three times as long.\n\n| guests | to the agent | memory a guest |\n|---|---|---|\n", runtime.NumCPU())
	var before time.Duration
	var complaints []error
	for _, n := range []int{1, 2, 4, 8, 16} {
		took, memory, err := b.together(ctx, n)
		if err != nil {
			return fmt.Errorf("%d guests: %w", n, err)
		}
		fmt.Fprintf(page, "| %d | %.1f s | %d MiB |\n", n, took.Seconds(), memory/n>>10)
		if n > 1 {
			complaints = append(complaints, doubled(n, before, took))
		}
		before = took
	}
	return errors.Join(complaints...)
}

// doubled returns an error if n guests took more than three times as long as half of them.
func doubled(n int, half, all time.Duration) error {
	// A guest that gets only a part of the host's time has to handle more timer ticks. Single boots also vary.
	const tolerance = 1.5
	if limit := time.Duration(float64(2*half) * tolerance); all > limit {
		return superlinearError{fmt.Sprintf("%d guests: %v to the last agent, more than %v", n, all, limit)}
	}
	return nil
}

// together boots n guests at once. It returns the time until all agents have started, and the memory that all guests take on
// the host, in KiB.
func (b *bench) together(ctx context.Context, n int) (took time.Duration, memory int, err error) {
	guests := make([]*running, 0, n)
	defer func() {
		for _, g := range guests {
			g.remove()
		}
	}()
	began := time.Now()
	for range n {
		config := b.config(initramfs, wall[0])
		config.Timeout = longBoot
		// loglevel=5 shows the stopwatch's lines on the console. no_timer_check skips the kernel's test of the timer
		// interrupt: on a busy host an interrupt can come so late that the kernel takes it for lost. Under KVM the
		// kernel skips the test, too.
		config.Cmdline = []string{"loglevel=5", "no_timer_check"}
		g, err := b.start(ctx, initramfs, config, nil)
		if err != nil {
			return 0, 0, err
		}
		guests = append(guests, g)
	}
	// Measure by the host's clock: the guest's is wrong when the guest has to wait for a processor.
	for _, g := range guests {
		if err := g.WaitConsole(ctx, agentMark[false]); err != nil {
			return 0, 0, err
		}
	}
	took = time.Since(began)
	for _, g := range guests {
		if err := g.WaitConsole(ctx, upMark); err != nil {
			return 0, 0, err
		}
	}
	if memory, err = memoryOfChildren(); err != nil {
		return 0, 0, err
	}
	nics := len(b.config(initramfs, wall[0]).NICs)
	for _, g := range guests {
		if _, err := readSample(g.arcbox, initramfs, nics); err != nil {
			return 0, 0, err
		}
	}
	return took, memory, nil
}

// memoryOfChildren returns the memory of this process's descendants in KiB, with shared pages counted once.
func memoryOfChildren() (kib int, err error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, fmt.Errorf("list the processes: %w", err)
	}
	parents := map[int]int{}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // ended
		}
		// PID (NAME) STATE PARENT: a name can contain any character, even a parenthesis.
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		pid, pidErr := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		parent, parentErr := strconv.Atoi(fields[1])
		if err := errors.Join(pidErr, parentErr); err != nil {
			return 0, fmt.Errorf("read %s: %w", path, err)
		}
		parents[pid] = parent
	}
	for pid := range parents {
		above := parents[pid]
		for above != 0 && above != os.Getpid() {
			above = parents[above]
		}
		if above == 0 {
			continue
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if errors.Is(err, fs.ErrNotExist) {
			continue // ended
		}
		if err != nil {
			return 0, fmt.Errorf("memory of a guest's process: %w", err)
		}
		for line := range strings.Lines(string(text)) {
			var size int
			if _, err := fmt.Sscanf(line, "Pss: %d kB", &size); err == nil {
				kib += size
			}
		}
	}
	return kib, nil
}

// A series has growing sizes and the time that a boot took with each.
type series struct {
	unit string
	size []int
	took []time.Duration
}

// linear returns an error if a unit of the series' last step costs more than a unit of the step before. It tolerates late
// answers of the host.
func (s series) linear() error {
	const tolerance, late = 1.5, 5 * time.Millisecond
	last := len(s.size) - 1
	before := float64(s.took[last-1]-s.took[0]) / float64(s.size[last-1]-s.size[0])
	limit := s.took[last-1] + time.Duration(max(0, before)*tolerance*float64(s.size[last]-s.size[last-1])) + late
	if s.took[last] > limit {
		return superlinearError{fmt.Sprintf("%d %s: %v, more than %v", s.size[last], s.unit, s.took[last], limit)}
	}
	return nil
}

// least boots the guest twice, counted in instructions. It returns the least time from the kernel's start until the agent and
// all networks are up, and the length of the kernel command line.
func (b *bench) least(ctx context.Context, config guest.Config, files map[string]string, nics int) (least time.Duration, cmdline int, err error) {
	const boots = 2
	config.Timeout = longBoot
	for i := range boots {
		g, err := b.start(ctx, initramfs, config, files)
		if err != nil {
			return 0, 0, err
		}
		s, err := g.finish(ctx, nics)
		if err != nil {
			return 0, 0, err
		}
		if took := max(s.agent, s.networks); i == 0 || took < least {
			least = took
		}
		cmdline = s.cmdline
	}
	return least, cmdline, nil
}

// devices configures a guest with this number of shares and NICs, and returns the files for its share arcbox. arcinit
// configures all the NICs, but mounts only the shares that it knows.
func (b *bench) devices(shares, nics int) (guest.Config, map[string]string) {
	config := b.config(initramfs, counted)
	for i := len(config.Shares); i < shares; i++ {
		config.Shares = append(config.Shares, guest.Share{Tag: fmt.Sprintf("share%d", i)})
	}
	// A PCI bus has only 32 slots, so the further NICs are functions of one device.
	var toml strings.Builder
	for i := len(config.NICs); i < nics; i++ {
		config.ExtraQEMU = append(config.ExtraQEMU,
			"-netdev", fmt.Sprintf("user,id=more%d,net=10.1.%d.0/24", i, i),
			"-device", fmt.Sprintf("virtio-net-pci,romfile=,netdev=more%d,mac=52:54:00:00:01:%02x,addr=1e.%d,multifunction=on", i, i, i-len(config.NICs)))
		fmt.Fprintf(&toml, "[[network.nic]]\nnic = \"eth%d\"\nrole = \"dhcp-no-route\"\n", i)
	}
	return config, map[string]string{"etc/arcinit.toml": toml.String()}
}

// scaleDevices boots guests with more and more shares, more and more NICs, and the most of both.
func scaleDevices(ctx context.Context, b *bench, page *strings.Builder) error {
	page.WriteString("\n## Shares and NICs in one guest\n\nCounted in instructions, the least of two boots, until the agent runs and all networks are up. The guest mounts only the shares that\n" +
		"arcinit knows.\n\n| shares | NICs | from kernel start |\n|---|---|---|\n")
	took := func(shares, nics int) (time.Duration, error) {
		config, files := b.devices(shares, nics)
		t, _, err := b.least(ctx, config, files, nics)
		if err != nil {
			return 0, fmt.Errorf("%d shares and %d NICs: %w", shares, nics, err)
		}
		fmt.Fprintf(page, "| %d | %d | %.1f ms |\n", shares, nics, milliseconds(t))
		return t, nil
	}
	shares := series{unit: "shares", size: []int{3, 12, 24}}
	nics := series{unit: "NICs", size: []int{2, 4, 8}}
	for _, n := range shares.size {
		t, err := took(n, nics.size[0])
		if err != nil {
			return err
		}
		shares.took = append(shares.took, t)
	}
	nics.took = shares.took[:1:1]
	for _, n := range nics.size[1:] {
		t, err := took(shares.size[0], n)
		if err != nil {
			return err
		}
		nics.took = append(nics.took, t)
	}
	// NICs may cost no more beside 24 shares than beside 3.
	both, err := took(24, 8)
	if err != nil {
		return err
	}
	together := series{unit: "NICs beside 24 shares", size: nics.size}
	for _, t := range nics.took {
		together.took = append(together.took, t+shares.took[2]-shares.took[0])
	}
	together.took[2] = both
	return errors.Join(shares.linear(), nics.linear(), together.linear())
}

// scaleCommandLine boots guests with command lines of growing length. The kernel accepts only 2 KiB from the VMM, so the
// parameters are in a boot configuration at the end of the initramfs (Documentation/admin-guide/bootconfig.rst).
func scaleCommandLine(ctx context.Context, b *bench, page *strings.Builder) error {
	page.WriteString("\n## Command line\n\nCounted in the same way, with three shares and two NICs.\n\n| bytes | from kernel start |\n|---|---|\n")
	image, err := os.ReadFile(b.built("initramfs.cpio"))
	if err != nil {
		return fmt.Errorf("read the image: %w", err)
	}
	s := series{unit: "bytes of command line"}
	for _, size := range []int{1 << 10, 2 << 10, 4 << 10} {
		config := b.config(initramfs, counted)
		config.Initrd = filepath.Join(b.dir, "initramfs-"+strconv.Itoa(size))
		if err := os.WriteFile(config.Initrd, withParameters(image, size), 0o644); err != nil {
			return fmt.Errorf("write an image: %w", err)
		}
		t, is, err := b.least(ctx, config, nil, len(config.NICs))
		if err != nil {
			return fmt.Errorf("a command line of %d bytes: %w", size, err)
		}
		if is < size {
			return fmt.Errorf("the guest has a command line of %d bytes, less than %d", is, size)
		}
		fmt.Fprintf(page, "| %d | %.1f ms |\n", is, milliseconds(t))
		s.size, s.took = append(s.size, is), append(s.took, t)
	}
	return s.linear()
}

// withParameters appends a boot configuration to an image, with kernel parameters of at least size bytes.
func withParameters(image []byte, size int) []byte {
	// This boot configuration replaces the one that is built into the kernel, so it repeats its parameters.
	text := []byte("kernel.initcall_blacklist = jent_mod_init\nkernel.dummy.numdummies = 0\nkernel.ifb.numifbs = 0\n")
	for i := 0; len(text) < size+size/5; i++ { // a parameter is a tenth shorter on the command line
		text = fmt.Appendf(text, "kernel.bench.p%d = %s\n", i, strings.Repeat("x", 64))
	}
	text = append(text, make([]byte, 4-len(text)%4)...)
	var sum uint32
	for _, b := range text {
		sum += uint32(b)
	}
	whole := append(bytes.Clone(image), make([]byte, (4-len(image)%4)%4)...)
	whole = append(whole, text...)
	whole = binary.LittleEndian.AppendUint32(whole, uint32(len(text)))
	whole = binary.LittleEndian.AppendUint32(whole, sum)
	return append(whole, "#BOOTCONFIG\n"...)
}
