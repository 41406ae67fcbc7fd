package arcsetup

import (
	"errors"
	"fmt"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"golang.org/x/sys/unix"
)

// clock sets a clock that shows a time before this program was built: such a
// machine has no clock of its own, or one that was never set, and to it every
// certificate is from the future. The real time is for the agent to find.
func (g *Guest) clock() (changed bool, err error) {
	if g.BuildTime.IsZero() {
		return false, plan.Absent(errors.New("build time unknown"))
	}
	if !time.Now().Before(g.BuildTime) {
		return false, nil
	}
	to := unix.NsecToTimespec(g.BuildTime.UnixNano())
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &to); err != nil {
		return false, fmt.Errorf("set the clock to %v: %w", g.BuildTime.UTC(), err)
	}
	return true, nil
}
