package arcsetup

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/arcinit/arcinit/pkg/arcsetup/config"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

const (
	daemonJSON     = "/etc/docker/daemon.json"
	operatorDaemon = "/arcbox/config/docker-engine.json" // the host's own part of daemon.json, as ArcBox's app writes it
)

// object is a JSON object as package json decodes it.
type object = map[string]any

// requiredDaemon is the part of dockerd's configuration that containers rely on. Inside a container the guest's
// resolv.conf is of no use: dns is the gateway, where the host answers for its own names too.
const requiredDaemon = `{
  "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 1048576, "Hard": 1048576}},
  "dns": ["10.0.2.1"],
  "features": {"containerd-snapshotter": true}
}
`

// dockerDaemon writes daemon.json: the image's own, then the host's, then [docker.daemon] of arcinit.toml, and what is required over all of them.
func (g *Guest) dockerDaemon() (bool, error) {
	c := g.Config()
	image, err := g.readDaemon(daemonJSON)
	errs := []error{err}
	operator, err := g.readDaemon(operatorDaemon)
	errs = append(errs, err)
	text := []byte(requiredDaemon)
	if len(image)+len(operator)+len(c.DockerDaemon)+len(c.ContainerNetwork) > 0 {
		configured, daemon, required := object{}, object{}, object{}
		errs = append(errs, json.Unmarshal(text, &required))
		if text, err = json.Marshal(c.DockerDaemon); err != nil { // such as nan, which JSON has no number for
			errs = append(errs, plan.Fallback(fmt.Errorf("arcinit.toml: docker.daemon: ignored: %w", err)))
		} else {
			errs = append(errs, json.Unmarshal(text, &configured))
		}
		if c.ContainerNetwork != "" {
			ownNetwork(required, netip.MustParsePrefix(c.ContainerNetwork))
		}
		config.Merge(daemon, image, nil)
		config.Merge(daemon, operator, nil)
		config.Merge(daemon, configured, nil)
		// To dockerd, as to package json, "soft" is another spelling of "Soft".
		dropSpellings(daemon, required)
		config.Merge(daemon, required, func(key string, old, required any) {
			errs = append(errs, plan.Fallback(fmt.Errorf("docker.daemon: %s = %v ignored: containers rely on %v", key, old, required)))
		})
		if text, err = json.MarshalIndent(daemon, "", "  "); err != nil {
			return false, errors.Join(append(errs, fmt.Errorf("write %s: %w", daemonJSON, err))...)
		}
		text = append(text, '\n')
	}
	mode := os.FileMode(0o644)
	if st, err := os.Stat(g.path(daemonJSON)); err == nil {
		mode = st.Mode().Perm() // the file may have secrets
	}
	changed, err := g.writeFile(daemonJSON, string(text), mode)
	return changed, errors.Join(append(errs, err)...)
}

// ownNetwork adds to what is required that all containers are in one network, and that the host reaches each directly. The
// first of its parts is docker0's. A part is a /24, or in a small network a sixteenth.
func ownNetwork(required object, network netip.Prefix) {
	size := max(24, min(network.Bits()+4, 28))
	required["bip"] = netip.PrefixFrom(network.Addr().Next(), size).String()
	required["default-address-pools"] = []any{object{"base": network.String(), "size": float64(size)}}
	required["allow-direct-routing"] = true
}

// readDaemon reads a daemon.json. It renames the image's, if that is invalid, for the author to find.
func (g *Guest) readDaemon(path string) (daemon object, err error) {
	text, err := g.readFile(path)
	if err != nil {
		return nil, plan.Fallback(fmt.Errorf("%s ignored: %w", path, err))
	}
	if text = config.Text([]byte(text)); strings.TrimSpace(text) == "" || text == requiredDaemon {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(text), &daemon); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			err = fmt.Errorf("line %d: %w", 1+strings.Count(text[:syntax.Offset], "\n"), err)
		}
		if path != daemonJSON {
			return nil, plan.Fallback(fmt.Errorf("%s ignored: %w", path, err))
		}
		const refused = daemonJSON + ".refused"
		err = fmt.Errorf("%s: %w; renamed to %s, default used", daemonJSON, err, refused)
		return nil, errors.Join(plan.Fallback(err), os.Rename(g.path(daemonJSON), g.path(refused)))
	}
	// To dockerd a key's second object adds to the first. Package json replaces it.
	decoder := json.NewDecoder(strings.NewReader(text))
	for _, err = decoder.Token(); err == nil && decoder.More(); {
		var key json.Token
		var value any
		if key, err = decoder.Token(); err == nil {
			err = decoder.Decode(&value)
		}
		config.Merge(daemon, object{fmt.Sprint(key): value}, nil)
	}
	return daemon, err
}

// dropSpellings renames or deletes the keys of base that differ from one of required only in upper and lower case.
func dropSpellings(base, required object) {
	for key, value := range required {
		for other := range base {
			if other != key && strings.EqualFold(other, key) {
				if _, there := base[key]; !there {
					base[key] = base[other]
				}
				delete(base, other)
			}
		}
		inner, _ := base[key].(object)
		if value, ok := value.(object); ok {
			dropSpellings(inner, value)
		}
	}
}
