package config

import (
	"errors"
	"fmt"
	"slices"

	"github.com/arcinit/arcinit/internal/binfmt"
)

// binfmtFile is [[binfmt]] of arcinit.toml. Magic and mask are written as the
// kernel has them written, with \xHH for a byte.
type binfmtFile struct {
	Name, Interpreter, Magic, Mask, Flags string
	Offset                                int
}

// ownHandlers are the names of those that arcinit itself registers.
var ownHandlers = []string{"rosetta", "FEX-x86_64"}

// setHandlers takes over the handlers that the kernel can be told of. The errors
// name those that it cannot.
func (c *Config) setHandlers(entries []binfmtFile) (errs []error) {
	known := slices.Clone(ownHandlers)
	for i, e := range entries {
		h, err := e.handler()
		if err == nil && slices.Contains(known, h.Name) {
			err = errors.New("this name is there already")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%d (%s): %w", i+1, e.Name, err))
			continue
		}
		known = append(known, h.Name)
		c.Handlers = append(c.Handlers, h)
	}
	return errs
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
