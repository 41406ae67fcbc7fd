package arcsetup

import (
	"encoding/json"
	"net/netip"
	"testing"
)

// TestOwnNetwork looks at what dockerd gets for container networks of several sizes.
func TestOwnNetwork(t *testing.T) {
	for network, want := range map[string]string{
		"172.16.0.0/12":  `{"allow-direct-routing":true,"bip":"172.16.0.1/24","default-address-pools":[{"base":"172.16.0.0/12","size":24}]}`,
		"10.200.0.0/20":  `{"allow-direct-routing":true,"bip":"10.200.0.1/24","default-address-pools":[{"base":"10.200.0.0/20","size":24}]}`,
		"10.200.64.0/22": `{"allow-direct-routing":true,"bip":"10.200.64.1/26","default-address-pools":[{"base":"10.200.64.0/22","size":26}]}`,
		"192.0.2.0/24":   `{"allow-direct-routing":true,"bip":"192.0.2.1/28","default-address-pools":[{"base":"192.0.2.0/24","size":28}]}`,
	} {
		required := object{}
		ownNetwork(required, netip.MustParsePrefix(network))
		if got, err := json.Marshal(required); err != nil || string(got) != want {
			t.Errorf("%s: %s, %v; want %s", network, got, err, want)
		}
	}
}
