package uinit

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/netip"
	"reflect"
	"testing"

	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
)

func TestDaemonConfig(t *testing.T) {
	for _, want := range []daemonConfig{
		{},
		{Log: slog.LevelWarn, Config: netd.Config{
			Roles: netd.Roles{Primary: "eth0", Bridge: "52:54:00:00:00:02", Further: []netd.Further{
				{NIC: "eth2", Role: netd.RoleStatic, Address: netip.MustParsePrefix("192.0.2.5/24")},
				{NIC: "52:54:00:00:00:04", Role: netd.RoleOff},
			}},
			SandboxSubnet: netip.MustParsePrefix("172.20.0.0/16"),
			Hostname:      "guest", ProbeAddress: true, IPv6Router: true,
		}},
	} {
		argument, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got daemonConfig
		if err := parseArgument([]string{string(argument)}, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is read as %+v, %v, want %+v", argument, got, err, want)
		}
	}
	for _, args := range [][]string{{}, {"{}", "{}"}, {"primary=eth0"}, {`{"log": "loud"}`}, {`{"sandbox_subnet": "1.2.3"}`}} {
		if err := parseArgument(args, new(daemonConfig)); err == nil {
			t.Errorf("%q are accepted", args)
		}
	}
}

// FuzzDaemonArgument checks that PID 1 writes what the daemon has read in the same way.
func FuzzDaemonArgument(f *testing.F) {
	f.Add(`{"log":"WARN","primary":"eth0","further":[{"nic":"eth2","role":"static","address":"192.0.2.5/24"}],"sandbox_subnet":"172.20.0.0/16"}`)
	f.Add(`{"further":[]}`)
	f.Add(`{"log":"INFO+3","hostname":"\xff","probe_address":true}`)
	f.Fuzz(func(t *testing.T, text string) {
		var cfg, again daemonConfig
		if parseArgument([]string{text}, &cfg) != nil {
			return
		}
		argument, err := json.Marshal(cfg)
		if err != nil {
			t.Fatalf("%q is read as %+v: %v", text, cfg, err)
		}
		if err := parseArgument([]string{string(argument)}, &again); err != nil {
			t.Fatalf("%q is written as %s: %v", text, argument, err)
		}
		if same, err := json.Marshal(again); err != nil || !bytes.Equal(same, argument) {
			t.Errorf("%q is written as %s, and then as %s, %v", text, argument, same, err)
		}
	})
}
