// Command init is /init of the guests that test the launcher. It reports its devices, then does what the kernel command line
// asks for, and ends the guest.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/arcinit/arcinit/vmtests/guest/port"
)

func main() {
	for _, m := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"virtiofs", "/share"}} {
		_ = os.MkdirAll(m[1], 0o755)
		if err := syscall.Mount("test", m[1], m[0], 0, ""); err != nil {
			fmt.Println("mount", m[1], err)
		}
	}
	out, err := port.Open("report")
	if err != nil {
		fmt.Println(err)
		out = os.Stdout
	}
	content, err := os.ReadFile("/share/from-host")
	_, _ = fmt.Fprintf(out, "share: %q %v\n", content, err)
	if err := os.WriteFile("/share/from-guest", []byte("guest"), 0o600); err != nil {
		_, _ = fmt.Fprintln(out, err)
	}
	// A distribution's kernel may have its network driver in a module, which is missing here. The bus still lists the cards.
	cards, _ := os.ReadDir("/sys/bus/virtio/devices")
	_, _ = fmt.Fprintln(out, "devices:", len(cards))
	nics, _ := net.Interfaces()
	_, _ = fmt.Fprintln(out, "interfaces:", len(nics))

	cmdline, _ := os.ReadFile("/proc/cmdline")
	for _, word := range strings.Fields(string(cmdline)) {
		switch word {
		case "test=flood":
			// This text is larger than the buffers of pipes and terminals.
			fmt.Println(strings.Repeat(strings.Repeat("x", 78)+"\n", 2000))
		case "test=typed":
			fmt.Println("type something")
			var typed string
			_, _ = fmt.Scanln(&typed)
			_, _ = fmt.Fprintln(out, "typed:", typed)
		case "test=sent":
			other, err := port.Open("other")
			if err != nil {
				_, _ = fmt.Fprintln(out, err)
				continue
			}
			line, _ := bufio.NewReader(other).ReadString('\n')
			_, _ = fmt.Fprintln(out, "sent:", strings.TrimSpace(line))
		case "test=panic":
			os.Exit(1)
		case "test=hang":
			fmt.Println("hanging")
			_ = syscall.Pause()
		case "test=reboot":
			_ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_RESTART)
		}
	}
	_, _ = fmt.Fprint(out, "a line without an end")
	_ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
}
