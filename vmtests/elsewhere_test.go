package vmtests

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// TestElsewhere runs uinit on a system that is not Linux: WASI, since a program
// for that runs anywhere. Guests beside it would wait for the compiler.
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
	if err == nil || !strings.Contains(stderr.String(), "only works on Linux") {
		t.Errorf("uinit said %q and ended with %v, want that it only works on Linux", stderr.String(), err)
	}
}
