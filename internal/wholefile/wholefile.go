// Package wholefile writes files that are never seen half written. It must not
// know what is in them.
package wholefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Write puts data into the file path, with this mode whatever the umask:
// whoever opens it finds the old file or the new one. A link in its place is
// replaced, not followed. Missing directories are made.
func Write(path string, data []byte, mode fs.FileMode) (err error) {
	tmp := path + ".new"
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", path, err)
			if e := os.Remove(tmp); !errors.Is(e, fs.ErrNotExist) {
				err = errors.Join(err, e)
			}
		}
	}()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(tmp, data, mode); err != nil {
		return err
	}
	if err := os.Chmod(tmp, mode); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
