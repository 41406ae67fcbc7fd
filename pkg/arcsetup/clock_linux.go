package arcsetup

import (
	"errors"
	"fmt"
	"time"

	"github.com/arcinit/arcinit/internal/wallclock"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// clock sets a clock that is before this program's build to the time of the build:
// certificates would seem to be from the future. The agent finds the real time.
func (g *Guest) clock() (changed bool, err error) {
	if g.BuildTime.IsZero() {
		return false, plan.Absent(errors.New("build time unknown"))
	}
	if !time.Now().Before(g.BuildTime) {
		return false, nil
	}
	if err := wallclock.Set(g.BuildTime); err != nil {
		return false, fmt.Errorf("set the clock to %v: %w", g.BuildTime.UTC(), err)
	}
	return true, nil
}
