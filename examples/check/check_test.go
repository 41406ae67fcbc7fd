// Package check holds the examples against what their VMMs accept: vfkit's and Firecracker's by code of their own projects, Cloud
// Hypervisor's by a schema.
package check

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/crc-org/vfkit/pkg/cmdline"
	"github.com/crc-org/vfkit/pkg/config"
	"github.com/firecracker-microvm/firecracker-go-sdk/client/models"
	"github.com/spf13/cobra"
)

// run runs an example's script in a directory, with programs that only record their arguments. It returns the arguments by program.
func run(t *testing.T, dir, script, uname string, programs ...string) map[string][][]string {
	t.Helper()
	script, err := filepath.Abs(script)
	if err != nil {
		t.Fatal(err)
	}
	bin, record := t.TempDir(), t.TempDir()
	write(t, filepath.Join(bin, "uname"), "#!/bin/sh\necho "+uname+"\n")
	for _, name := range programs {
		write(t, filepath.Join(bin, name), "#!/bin/sh\nprintf '%s\\0' \"$@\" >"+record+"/"+name+".$$\n")
	}
	cmd := exec.Command(script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	// This waits for the script's background programs, too, because they have the output.
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	calls := map[string][][]string{}
	files, err := filepath.Glob(record + "/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name, _, _ := strings.Cut(filepath.Base(file), ".")
		calls[name] = append(calls[name], strings.Split(strings.TrimSuffix(string(read(t, file)), "\x00"), "\x00"))
	}
	return calls
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// vfkit parses arguments as vfkit does.
func vfkit(args []string) (*config.LinuxBootloader, *config.VirtualMachine, error) {
	var opts cmdline.Options
	cmd := &cobra.Command{RunE: func(*cobra.Command, []string) error { return nil }, Args: cobra.NoArgs, SilenceErrors: true, SilenceUsage: true}
	cmdline.AddFlags(cmd, &opts)
	cmd.SetArgs(args)
	if err := cmd.Execute(); err != nil {
		return nil, nil, err
	}
	bootloader, err := config.BootloaderFromCmdLine(opts.Bootloader.GetSlice())
	if err != nil {
		return nil, nil, err
	}
	vm := config.NewVirtualMachine(opts.Vcpus, uint64(opts.MemoryMiB), bootloader)
	if err := vm.AddDevicesFromCmdLine(opts.Devices); err != nil {
		return nil, nil, err
	}
	linux, ok := bootloader.(*config.LinuxBootloader)
	if !ok {
		return nil, nil, fmt.Errorf("the bootloader is a %T", bootloader)
	}
	return linux, vm, nil
}

func TestVfkit(t *testing.T) {
	for uname, tags := range map[string][]string{
		"arm64":  {"arcbox", "users", "private", "rosetta"},
		"x86_64": {"arcbox", "users", "private"},
	} {
		t.Run(uname, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a directory")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, "data.img"), "vfkit reads the first bytes")
			calls := run(t, dir, "../vfkit/run.sh", uname, "vfkit")["vfkit"]
			if len(calls) != 1 {
				t.Fatalf("vfkit started %d times", len(calls))
			}
			boot, vm, err := vfkit(calls[0])
			if err != nil {
				t.Fatal(err)
			}
			if boot.VmlinuzPath != dir+"/kernel" || boot.InitrdPath != dir+"/initramfs.cpio" || !strings.HasPrefix(boot.KernelCmdLine, "console=hvc0 ") {
				t.Errorf("vfkit boots %+v", boot)
			}
			var got []string
			for _, fs := range config.FilterDevices[*config.VirtioFs](vm) {
				got = append(got, fs.MountTag)
			}
			for _, rosetta := range config.FilterDevices[*config.RosettaShare](vm) {
				got = append(got, rosetta.MountTag)
			}
			if !slices.Equal(got, tags) {
				t.Errorf("the shares are %q, want %q", got, tags)
			}
			if nics := vm.VirtioNetDevices(); len(nics) != 2 || !nics[0].Nat {
				t.Errorf("the NICs are %+v", nics)
			}
			for _, vsock := range vm.VirtioVsockDevices() {
				if notify := fmt.Sprint("arcbox.notify=vsock:2:", vsock.Port); !vsock.Listen || !strings.HasSuffix(boot.KernelCmdLine, notify) {
					t.Errorf("the vsock is %+v, and the kernel command line is %q", vsock, boot.KernelCmdLine)
				}
			}
			// Each misspelled option is an error.
			tried := 0
			for i, arg := range calls[0] {
				if strings.HasPrefix(arg, "unix://") {
					continue // an address of any kind
				}
				for _, at := range regexp.MustCompile(`^[a-z-]+|,[A-Za-z]+`).FindAllStringIndex(arg, -1) {
					tried++
					args := slices.Clone(calls[0])
					args[i] = arg[:at[1]] + "x" + arg[at[1]:]
					if _, _, err := vfkit(args); err == nil {
						t.Errorf("vfkit accepts %q", args[i])
					}
				}
			}
			if tried < 40 {
				t.Errorf("only %d options in %q", tried, calls[0])
			}
		})
	}
}

// strictly decodes JSON, and refuses keys that v lacks.
func strictly(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the configuration")
	}
	return nil
}

// firecracker is Firecracker's file. The models are older than its entropy device.
type firecracker struct {
	models.FullVMConfiguration
	Entropy *struct {
		RateLimiter *models.RateLimiter `json:"rate_limiter"`
	} `json:"entropy"`
}

func parseFirecracker(text []byte) (*firecracker, error) {
	var c firecracker
	if err := strictly(text, &c); err != nil {
		return nil, err
	}
	return &c, c.Validate(nil)
}

func TestFirecracker(t *testing.T) {
	text := read(t, "../firecracker/vm.json")
	c, err := parseFirecracker(text)
	if err != nil {
		t.Fatal(err)
	}
	// Firecracker itself ignores a section that it does not know.
	if c.BootSource == nil || c.MachineConfig == nil || c.Vsock == nil || c.Entropy == nil || len(c.Drives) != 2 {
		t.Errorf("the configuration is %s", text)
	}
	for _, nic := range c.NetworkInterfaces {
		inNetwork(t, *nic.HostDevName)
	}
	for name, misspelled := range misspell(t, text) {
		if _, err := parseFirecracker(misspelled); err == nil {
			t.Errorf("accepted without %s", name)
		}
	}
}

func TestCloudHypervisor(t *testing.T) {
	text := read(t, "../cloud-hypervisor/vm.json")
	if err := checkCloudHypervisor(text); err != nil {
		t.Fatal(err)
	}
	for name, misspelled := range misspell(t, text) {
		if err := checkCloudHypervisor(misspelled); err == nil {
			t.Errorf("accepted without %s", name)
		}
	}
	var c struct {
		Memory struct{ Shared bool }
		FS     []struct{ Tag, Socket string }
		Net    []struct{ Tap string }
	}
	if err := json.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	if !c.Memory.Shared {
		t.Error("virtiofsd needs shared memory")
	}
	for _, nic := range c.Net {
		inNetwork(t, nic.Tap)
	}
	calls := run(t, t.TempDir(), "../cloud-hypervisor/run.sh", "x86_64", "virtiofsd", "ch-remote", "cloud-hypervisor")
	var served, used []string
	for _, args := range calls["virtiofsd"] {
		served = append(served, args[slices.Index(args, "--socket-path")+1])
	}
	for _, fs := range c.FS {
		used = append(used, fs.Socket)
		if fs.Tag+".sock" != fs.Socket {
			t.Errorf("share %s is served on %s", fs.Tag, fs.Socket)
		}
	}
	slices.Sort(served)
	slices.Sort(used)
	if !slices.Equal(served, used) {
		t.Errorf("the virtiofsd serve %q, and the VMM uses %q", served, used)
	}
	if n := len(calls["cloud-hypervisor"]); n != 1 {
		t.Errorf("cloud-hypervisor started %d times", n)
	}
	var asked []string
	for _, args := range calls["ch-remote"] {
		asked = append(asked, args[2])
		if args[2] != "create" {
			continue
		}
		if got := read(t, args[3]); !bytes.Equal(got, text) {
			t.Errorf("ch-remote creates the VM of %s", args[3])
		}
	}
	slices.Sort(asked)
	if want := []string{"boot", "create", "ping"}; !slices.Equal(asked, want) {
		t.Errorf("ch-remote got %q, want %q", asked, want)
	}
}

// inNetwork checks that network.sh makes this tap device.
func inNetwork(t *testing.T, tap string) {
	t.Helper()
	if !regexp.MustCompile(`(?m)^\tfor nic in .*"` + tap + ` `).Match(read(t, "../network.sh")) {
		t.Errorf("network.sh makes no %s", tap)
	}
}

// misspell returns copies of a JSON text, each with one key misspelled.
func misspell(t *testing.T, text []byte) map[string][]byte {
	t.Helper()
	copies := map[string][]byte{}
	for _, at := range regexp.MustCompile(`"([a-z_-]+)":`).FindAllSubmatchIndex(text, -1) {
		name := fmt.Sprintf("%s at byte %d", text[at[2]:at[3]], at[2])
		copies[name] = slices.Concat(text[:at[3]], []byte("x"), text[at[3]:])
	}
	if len(copies) < 10 {
		t.Fatalf("only %d keys in %s", len(copies), text)
	}
	return copies
}

// TestArcinit checks the examples' arcinit.toml by arcinit's own program. The root disk's is the image's, the others are the host's.
func TestArcinit(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none.toml")
	write(t, none, "")
	for example, files := range map[string][]string{
		"vfkit":            {"vfkit/arcinit.toml"},
		"cloud-hypervisor": {"cloud-hypervisor/arcinit.toml"},
		"firecracker":      {"firecracker/arcinit.toml", none},
	} {
		cmd := exec.Command("go", append([]string{"run", "../cmd/arcinit", "check"}, files...)...)
		cmd.Dir = ".."
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", example, err, out)
		}
	}
}
