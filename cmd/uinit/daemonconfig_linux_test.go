package main

import (
	"log/slog"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
)

func TestDaemonConfig(t *testing.T) {
	for _, want := range []daemonConfig{
		{},
		{log: slog.LevelWarn, Config: netd.Config{
			Roles: netd.Roles{Primary: "eth0", Bridge: "52:54:00:00:00:02", Further: []netd.Further{
				{NIC: "eth2", Role: netd.RoleStatic, Address: netip.MustParsePrefix("192.0.2.5/24")},
				{NIC: "52:54:00:00:00:04", Role: netd.RoleOff},
			}},
			Hostname: "guest", ProbeAddress: true, IPv6Router: true,
		}},
	} {
		args := want.args()
		got, err := parseDaemonConfig(args)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q are read as %+v, %v, want %+v", args, got, err, want)
		}
	}
	got, err := parseDaemonConfig([]string{"log=loud", "colour=red", "nic=eth2,static,1.2.3", "hostname=guest"})
	if err == nil || got.Hostname != "guest" {
		t.Errorf("arguments that mean nothing: %+v, %v", got, err)
	}
	for _, text := range []string{"log=loud", "colour=red", "nic=eth2,static,1.2.3"} {
		if err != nil && !strings.Contains(err.Error(), text) {
			t.Errorf("%v does not name %s", err, text)
		}
	}
}
