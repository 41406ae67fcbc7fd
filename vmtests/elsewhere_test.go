package vmtests

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"
)

// TestElsewhere runs uinit on a system that is not Linux: WASI, whose programs run
// anywhere. It is not parallel, because the compiler slows guests down.
func TestElsewhere(t *testing.T) {
	program := filepath.Join(t.TempDir(), "uinit.wasm")
	build := exec.Command("go", "build", "-o", program, "../cmd/uinit")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	code, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	runtime := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter())
	wasi_snapshot_preview1.MustInstantiate(t.Context(), runtime)
	var stderr bytes.Buffer
	_, err = runtime.InstantiateWithConfig(t.Context(), code,
		wazero.NewModuleConfig().WithArgs("uinit").WithStderr(&stderr))
	var exit *sys.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(stderr.String(), "Linux") {
		t.Errorf("uinit ended with %v and wrote %q, want exit code 1 and that it needs Linux", err, stderr.String())
	}
}
