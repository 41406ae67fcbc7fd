package main

import (
	"errors"
	"io"
	"io/fs"

	"github.com/arcinit/arcinit/internal/plot"
	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
)

// drawBoot draws this boot and its network; or a report that was kept, with the
// network's if that was kept, too.
func drawBoot(args []string, out io.Writer) error {
	if len(args) > 2 {
		return errors.New("plot takes a boot's report and a network's")
	}
	paths := args
	if len(args) == 0 {
		paths = []string{arcsetup.ReportPath, netd.DefaultReport}
	}
	r, err := readReport(paths[0])
	if err != nil {
		return err
	}
	var network netd.Report
	if len(paths) == 2 {
		network, err = netd.ReadReport(paths[1])
		// The running system may have no network yet, or none at all.
		if err != nil && (len(args) == 2 || !errors.Is(err, fs.ErrNotExist)) {
			return err
		}
	}
	return plot.Draw(out, r, network)
}
