package arcsetup

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/arcinit/arcinit/pkg/arcsetup/config"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

const daemonJSON = "/etc/docker/daemon.json"

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

// dockerDaemon writes daemon.json: the image's own, with [docker.daemon] of
// arcinit.toml over it, and what is required over both.
func (g *Guest) dockerDaemon() (bool, error) {
	image, err := g.imageDaemon()
	errs := []error{err}
	text, configured := []byte(requiredDaemon), g.Config().DockerDaemon
	if len(image)+len(configured) > 0 {
		operator, daemon, required := object{}, object{}, object{}
		errs = append(errs, json.Unmarshal(text, &required))
		if text, err = json.Marshal(configured); err != nil { // such as nan, which JSON has no number for
			errs = append(errs, plan.Fallback(fmt.Errorf("arcinit.toml: docker.daemon: ignored: %w", err)))
		} else {
			errs = append(errs, json.Unmarshal(text, &operator))
		}
		merge(daemon, image, "", nil)
		merge(daemon, operator, "", nil)
		// To dockerd, as to package json, "soft" is another spelling of "Soft".
		dropSpellings(daemon, required)
		merge(daemon, required, "", func(key string, old, required any) {
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

// imageDaemon reads the image's daemon.json. It renames an invalid file, for the author to find.
func (g *Guest) imageDaemon() (image object, err error) {
	text, err := g.readFile(daemonJSON)
	if err != nil {
		return nil, plan.Fallback(fmt.Errorf("%s ignored: %w", daemonJSON, err))
	}
	if text = config.Text([]byte(text)); strings.TrimSpace(text) == "" || text == requiredDaemon {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(text), &image); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			err = fmt.Errorf("line %d: %w", 1+strings.Count(text[:syntax.Offset], "\n"), err)
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
		merge(image, object{fmt.Sprint(key): value}, "", nil)
	}
	return image, err
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

// merge puts over into base, object by object. Of two values that are not both objects, over's wins; replaced, if not
// nil, is called if they differ. The path at, with a dot at its end, is where both objects are.
func merge(base, over object, at string, replaced func(key string, old, value any)) {
	for _, k := range slices.Sorted(maps.Keys(over)) {
		old, there := base[k]
		inner, oldIsObject := old.(object)
		if sub, isObject := over[k].(object); isObject && oldIsObject {
			merge(inner, sub, at+k+".", replaced)
			continue
		}
		if there && replaced != nil && !reflect.DeepEqual(old, over[k]) {
			replaced(at+k, old, over[k])
		}
		base[k] = over[k]
	}
}
