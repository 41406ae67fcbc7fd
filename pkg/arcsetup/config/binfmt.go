package config

import (
	"errors"
	"slices"

	"github.com/arcinit/arcinit/internal/binfmt"
)

// binfmtFile is [[binfmt]] of arcinit.toml. Magic and Mask are spelled as for the
// kernel, with \xHH for a byte.
type binfmtFile struct {
	Name, Interpreter, Magic, Mask, Flags string
	Offset                                int
}

// setHandlers adds the handlers that are valid and have a name of their own.
func (c *Config) setHandlers(entries []binfmtFile, refused *refusals) {
	known := []string{"rosetta", "FEX-x86_64"} // arcinit registers these two
	for i, e := range entries {
		h, err := e.handler()
		if err == nil && slices.Contains(known, h.Name) {
			err = errors.New("another handler has this name")
		}
		if err != nil {
			refused.ignore(entry("binfmt", i, e.Name), err)
			continue
		}
		known = append(known, h.Name)
		c.Handlers = append(c.Handlers, h)
	}
}

func (e *binfmtFile) handler() (*binfmt.Handler, error) {
	magic, errMagic := binfmt.Unescape(e.Magic)
	mask, errMask := binfmt.Unescape(e.Mask)
	if err := errors.Join(errMagic, errMask); err != nil {
		return nil, err
	}
	h := &binfmt.Handler{Name: e.Name, Interpreter: e.Interpreter, Magic: magic, Mask: mask, Offset: e.Offset, Flags: e.Flags}
	return h, h.Check()
}
