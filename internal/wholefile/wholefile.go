// Package wholefile replaces files atomically. It must not know what is in them.
package wholefile

import (
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// Write replaces the file path, or a link in its place: whoever opens it finds all of
// the old or the new data. The umask does not count. Write makes missing directories.
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
