package config

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestRoot(t *testing.T) {
	for _, tt := range []struct {
		cmdline string
		want    Root
		err     string
	}{
		{cmdline: "quiet", want: Root{Wait: DefaultRootWait}},
		{cmdline: "root='/dev/vda' rootdelay=30", want: Root{Device: "/dev/vda", Wait: 30 * time.Second}},
		{cmdline: "root=/dev/vda rootwait=2 rootdelay=3", want: Root{Device: "/dev/vda", Wait: 3 * time.Second}},
		{cmdline: "root=/dev/vda rootwait rootdelay=3", want: Root{Device: "/dev/vda", Wait: WaitForever}},
		{cmdline: "root=virtiofs:system rw rootwait", want: Root{Device: "system", Types: []string{"virtiofs"}, Writable: true, Wait: WaitForever}},
		{cmdline: "root=/dev/ram0 rw", want: Root{Writable: true, Wait: DefaultRootWait}},
		{cmdline: "root=/dev/root rootfstype=9p rootflags=trans=virtio", want: Root{Device: "/dev/root", Types: []string{"9p"}, Options: "trans=virtio", Wait: DefaultRootWait}},
		{cmdline: "root=/dev/vda rootfstype=ext4,auto rootflags=defaults,rw,noatime", want: Root{Device: "/dev/vda", Types: []string{"ext4", "auto"},
			Options: "defaults,noatime", Writable: true, Wait: DefaultRootWait}},
		{cmdline: "rw root=/dev/vda rootflags=ro,x", want: Root{Device: "/dev/vda", Options: "x", Wait: DefaultRootWait}},
		{
			cmdline: "console=ttyS0 root=/dev/vda ro rootfstype=erofs",
			want:    Root{Device: "/dev/vda", Types: []string{"erofs"}, Wait: DefaultRootWait},
		},
		{
			cmdline: "root=/dev/vda root=PARTUUID=6f0a-02 rootfstype=ext4,,btrfs rootflags=data=journal,x rootwait",
			want: Root{Device: "PARTUUID=6f0a-02", Types: []string{"ext4", "btrfs"}, Options: "data=journal,x",
				Wait: WaitForever},
		},
		{cmdline: `root="LABEL=two words" ro rw`, want: Root{Device: "LABEL=two words", Writable: true, Wait: DefaultRootWait}},
		{cmdline: "root=/dev/vda rw ro rw=1", want: Root{Device: "/dev/vda", Wait: DefaultRootWait}},
		{cmdline: "root=/dev/vda rootwait=0", want: Root{Device: "/dev/vda"}},
		{cmdline: "root=/dev/vda rootwait rootwait=90", want: Root{Device: "/dev/vda", Wait: 90 * time.Second}},
		{cmdline: "root=/dev/vda rootwait=90 rootwait", want: Root{Device: "/dev/vda", Wait: WaitForever}},
		{cmdline: "root=/dev/vda rootwait=soon", want: Root{Device: "/dev/vda", Wait: DefaultRootWait}, err: "rootwait: \"soon\""},
		{cmdline: "root=/dev/vda rootwait=3 rootwait=-1", want: Root{Device: "/dev/vda", Wait: 3 * time.Second}, err: "rootwait: \"-1\""},
		{cmdline: "rootwait=9999999999", want: Root{Wait: DefaultRootWait}, err: "rootwait: \"9999999999\""},
		{cmdline: "rootwait=2147483647", want: Root{Wait: 2147483647 * time.Second}},
		{cmdline: "rootwait=", want: Root{Wait: DefaultRootWait}, err: "rootwait: "},
		{cmdline: "root= rootfstype=", want: Root{Wait: DefaultRootWait}},
	} {
		if tt.want.Types == nil {
			tt.want.Types = []string{"auto"}
		}
		got, err := ParseCommandLine(tt.cmdline).Root()
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: Root = %+v, want %+v", tt.cmdline, got, tt.want)
		}
		if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: error = %v, want %q in it", tt.cmdline, err, tt.err)
		}
	}
}

func TestModules(t *testing.T) {
	l := ParseCommandLine(`virtio_net.napi_tx=0 virtio-net.csum=1 dummy.numdummies=2 x.flag y.text="two words" quiet arcbox.agent=/a ` +
		`module_blacklist=a-b,c modprobe.blacklist=d rd.driver.blacklist=e,f`)
	parameters, refused := l.Modules()
	for module, want := range map[string]string{
		"virtio_net": "napi_tx=0 csum=1", "dummy": "numdummies=2", "x": "flag", "y": `text="two words"`, "quiet": "",
	} {
		if parameters[module] != want {
			t.Errorf("%s gets %q, want %q", module, parameters[module], want)
		}
	}
	if got := strings.Join(refused, " "); got != "a_b c d e f" {
		t.Errorf("refused are %s", got)
	}
}
