package arcsetup

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

const daemonJSON = "/etc/docker/daemon.json"

// requiredDaemon is what dockerd's configuration has to say in any case.
func requiredDaemon() map[string]any {
	return map[string]any{
		// Containers ask the gateway, where the host answers for names of
		// its own; the guest's resolv.conf is of no use inside them.
		"dns": []any{"10.0.2.1"},
		"default-ulimits": map[string]any{
			"nofile": map[string]any{"Name": "nofile", "Soft": nofile, "Hard": nofile},
		},
		"features": map[string]any{"containerd-snapshotter": true},
	}
}

// dockerDaemon writes daemon.json: what the image has there, over that [docker.daemon]
// of arcinit.toml, and over both what is required.
func (g *Guest) dockerDaemon() (bool, error) {
	image, err := g.imageDaemon()
	operator := g.Config.DockerDaemon
	if _, errText := json.Marshal(operator); errText != nil {
		// TOML has numbers that JSON has not: nan and inf.
		err = errors.Join(err, plan.Fallback(fmt.Errorf("arcinit.toml: docker.daemon: not used: %w", errText)))
		operator = nil
	}
	daemon := map[string]any{}
	merge(daemon, image)
	merge(daemon, operator)
	for _, refused := range require(daemon, requiredDaemon(), "") {
		err = errors.Join(err, plan.Fallback(refused))
	}
	text, errText := json.MarshalIndent(daemon, "", "  ")
	if errText != nil {
		return false, errors.Join(err, fmt.Errorf("write %s: %w", daemonJSON, errText))
	}
	changed, errWrite := g.writeFile(daemonJSON, string(text)+"\n")
	return changed, errors.Join(err, errWrite)
}

// imageDaemon reads the daemon.json that is there. One that is not JSON is put
// aside, where its author can find it.
func (g *Guest) imageDaemon() (map[string]any, error) {
	text, err := g.readFile(daemonJSON)
	if err != nil {
		return nil, plan.Fallback(fmt.Errorf("%s not used: %w", daemonJSON, err))
	}
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var image map[string]any
	if err := json.Unmarshal([]byte(text), &image); err != nil {
		aside := daemonJSON + ".refused"
		err = fmt.Errorf("%s: line %d: %w; it is kept as %s, and the default used", daemonJSON, errorLine(text, err), err, aside)
		return nil, errors.Join(plan.Fallback(err), os.Rename(g.path(daemonJSON), g.path(aside)))
	}
	return image, nil
}

// errorLine is the line of text that a JSON error is about.
func errorLine(text string, err error) int {
	var offset int64
	var syntax *json.SyntaxError
	var value *json.UnmarshalTypeError
	if errors.As(err, &syntax) {
		offset = syntax.Offset
	} else if errors.As(err, &value) {
		offset = value.Offset
	}
	return 1 + strings.Count(text[:min(max(0, int(offset)), len(text))], "\n")
}

// merge puts over into base, object by object; where both have a value that is
// not an object, over's holds. It shares no object with over.
func merge(base, over map[string]any) {
	for k, v := range over {
		sub, ok := v.(map[string]any)
		if !ok {
			base[k] = v
			continue
		}
		old, is := base[k].(map[string]any)
		if !is {
			old = map[string]any{}
			base[k] = old
		}
		merge(old, sub)
	}
}

// require has daemon say what want does, and names what it said instead. The path
// at, with a dot at its end, is where both are.
func require(daemon, want map[string]any, at string) (refused []error) {
	for _, k := range slices.Sorted(maps.Keys(want)) {
		is, there := daemon[k]
		sub, isObject := want[k].(map[string]any)
		if inner, ok := is.(map[string]any); isObject && ok {
			refused = append(refused, require(inner, sub, at+k+".")...)
			continue
		}
		if there && !sameJSON(is, want[k]) {
			refused = append(refused, fmt.Errorf("docker.daemon: %s%s = %v is not used, since containers count on %v", at, k, is, want[k]))
		}
		daemon[k] = want[k]
	}
	return refused
}

// sameJSON compares values whose numbers may have come from TOML or JSON.
func sameJSON(a, b any) bool {
	textA, errA := json.Marshal(a)
	textB, errB := json.Marshal(b)
	return errA == nil && errB == nil && bytes.Equal(textA, textB)
}
