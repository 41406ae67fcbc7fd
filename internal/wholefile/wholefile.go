// Package wholefile replaces files atomically. It must not know what is in them.
package wholefile

import (
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// Write replaces the file path: whoever opens it finds the old data or the new data,
// never a part. The file gets the permissions mode whatever the umask is. A link in its
// place is replaced, not followed, and missing directories are made.
func Write(path string, data []byte, mode os.FileMode) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	// renameio.WriteFile would keep the permissions of an existing file.
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir), renameio.WithStaticPermissions(mode))
	if err != nil {
		return err
	}
	defer f.Cleanup() //nolint:errcheck // removes the temporary file after an error
	if _, err = f.Write(data); err == nil {
		err = f.CloseAtomicallyReplace()
	}
	return err
}
