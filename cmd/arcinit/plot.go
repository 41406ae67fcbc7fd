package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// The picture's measures, in pixels.
const (
	width     = 1100
	left      = 110 // names are to the left of it
	right     = width - 110
	squeezed  = 70 // width of the kernel's part where it is not to scale
	top       = 92
	rowHeight = 14
	barHeight = 10
	laneGap   = 26 // above a lane, for its name
	legend    = 40
)

// running is the class of a service that runs and of a NIC that works; the classes of steps are
// their outcomes.
const running = "runs"

// style has the colours for light and dark pages.
const style = `<style>
text{font:11px system-ui,sans-serif;fill:#1f2328}
.title{font-size:16px;font-weight:600}.lane{font-weight:600}.name{text-anchor:end}.mid{text-anchor:middle}
.note{fill:#656d76}.grid{stroke:#d0d7de}.need{stroke:#656d76;stroke-width:.6;fill:none;opacity:.55}.mark{stroke:#1f2328;stroke-dasharray:3 2}
.page{fill:#ffffff}.kernel{fill:#afb8c1}.ok{fill:#1a7f37}.already{fill:#54aeff}.unavailable{fill:#bf8700}.failed{fill:#cf222e}.runs{fill:#8250df}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}.note{fill:#9198a1}.grid{stroke:#30363d}.need{stroke:#9198a1}.mark{stroke:#e6edf3}
.page{fill:#0d1117}.kernel{fill:#484f58}.ok{fill:#3fb950}.already{fill:#388bfd}.unavailable{fill:#d29922}.failed{fill:#f85149}.runs{fill:#a371f7}
}
</style>
`

// draw writes the boot as an SVG picture: when each step ran, what it needed and how it ended,
// when each NIC was configured, and which services run. A network without NICs has no lane.
func draw(w io.Writer, r arcsetup.Report, network netd.Report) error {
	p := picture{axis: newAxis(r), y: top}
	if r.Role == "init" {
		p.lane("PID 1")
	} else {
		p.lane(r.Role)
	}
	p.steps(r.ByStart())
	if len(network.NICs) > 0 {
		p.lane("network")
	}
	for _, n := range network.NICs {
		p.nic(n)
	}
	if len(r.Services) > 0 {
		p.lane("services")
	}
	for _, s := range r.Services {
		note := fmt.Sprintf("started %s ms", ms(s.Since))
		if s.LastEnd != "" {
			note += fmt.Sprintf(", %d ends, the last: %s", s.Ends, s.LastEnd)
		}
		p.row(s.Name, note)
		if s.PID != 0 {
			p.bar(running, p.axis.x(s.Since), right)
		}
		if s.Since != 0 {
			p.mark(running, s.Since)
		}
		if s.PID == 0 || s.Since > p.axis.end {
			p.note(s.Since, note)
		}
	}
	if _, err := io.WriteString(w, p.svg(r)); err != nil {
		return fmt.Errorf("write the picture: %w", err)
	}
	return nil
}

// axis is the time axis. The kernel's part is to scale unless it is longer than the rest.
type axis struct {
	start, end time.Duration
	begin      float64 // where /init starts
	squeezed   bool
}

func newAxis(r arcsetup.Report) axis {
	a := axis{start: max(r.Start, 0)}
	a.end = max(r.End(), a.start+1)
	a.squeezed = a.start > a.end-a.start
	a.begin = left + squeezed
	if !a.squeezed {
		a.begin = left + (right-left)*float64(a.start)/float64(a.end)
	}
	return a
}

// x is the place of t. A time beyond the axis is at the axis's end.
func (a axis) x(t time.Duration) float64 {
	t = min(max(t, 0), a.end)
	if t < a.start {
		return left + (a.begin-left)*float64(t)/float64(a.start)
	}
	return a.begin + (right-a.begin)*float64(t-a.start)/float64(a.end-a.start)
}

// tick is a round time that divides the axis into at most eight parts.
func (a axis) tick() time.Duration {
	step := time.Microsecond
	for i := 0; (a.end-a.start)/step > 8; i++ {
		step = step * [...]time.Duration{20, 25, 20}[i%3] / 10 // 1, 2, 5, 10
	}
	return step
}

// canvas collects the elements of an SVG.
type canvas struct{ strings.Builder }

func (c *canvas) rect(class string, x float64, y int, width float64) {
	c.WriteString(fmt.Sprintf("<rect class=\"%s\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>\n", escape(class), x, y, width, barHeight))
}

func (c *canvas) path(class, format string, args ...any) {
	c.WriteString(fmt.Sprintf("<path class=\"%s\" d=\"%s\"/>\n", escape(class), fmt.Sprintf(format, args...)))
}

// text writes text; a viewer shows the tip when the pointer is on it.
func (c *canvas) text(class string, x float64, y int, text, tip string) {
	if tip != "" {
		tip = "<title>" + escape(tip) + "</title>"
	}
	c.WriteString(fmt.Sprintf("<text class=\"%s\" x=\"%.1f\" y=\"%d\">%s%s</text>\n", class, x, y, escape(text), tip))
}

// picture is drawn row by row from top to bottom. The rows are drawn over the lines.
type picture struct {
	axis        axis
	y           int // the lower edge of the row
	lines, rows canvas
}

// lane begins a group of rows.
func (p *picture) lane(name string) {
	p.y += laneGap
	p.rows.text("lane", 10, p.y-8, name, "")
}

// row begins a row.
func (p *picture) row(name, tip string) {
	p.y += rowHeight
	p.rows.text("name", left-6, p.y-3, name, tip)
}

func (p *picture) bar(class string, from, to float64) {
	p.rows.rect(class, from, p.y-rowHeight+2, max(to-from, 1.5))
}

// mark draws a diamond at a point in time.
func (p *picture) mark(class string, at time.Duration) {
	p.rows.path(class, "M%.1f %dl5 5l-5 5l-5 -5z", p.axis.x(at), p.y-rowHeight/2-5)
}

// note writes text beside a point in time, on the side that has room.
func (p *picture) note(at time.Duration, text string) {
	if at > p.axis.end {
		text = "later: " + text
	}
	if x := p.axis.x(at); x > (left+right)/2 {
		p.rows.text("note name", x-8, p.y-3, text, "")
	} else {
		p.rows.text("note", x+8, p.y-3, text, "")
	}
}

func (p *picture) steps(steps []plan.Result) {
	rows := map[string]int{}
	needs := map[string][]string{}
	for _, s := range steps {
		p.row(s.Step, fmt.Sprintf("%s: %s, %s to %s ms. %s", s.Doc, s.Outcome, ms(s.Start), ms(s.End), s.Error))
		from, to := p.axis.x(s.Start), p.axis.x(s.End)
		p.bar(string(s.Outcome), from, to)
		if to-from > 25 {
			p.rows.text("note", to+4, p.y-3, ms(s.End-s.Start)+" ms", "")
		}
		rows[s.Step], needs[s.Step] = p.y-rowHeight/2, s.Needs
	}
	for _, s := range steps {
		for _, needed := range steps {
			if isDirect(needed.Step, s.Needs, needs) {
				p.lines.path("need", "M%.1f %dL%.1f %d", p.axis.x(needed.End), rows[needed.Step], p.axis.x(s.Start), rows[s.Step])
			}
		}
	}
}

// isDirect reports whether names has name, and none of the others in names needs it: a line to
// that other step leads to name, too.
func isDirect(name string, names []string, needs map[string][]string) bool {
	return slices.Contains(names, name) &&
		!slices.ContainsFunc(names, func(other string) bool { return slices.Contains(needs[other], name) })
}

func (p *picture) nic(n netd.NIC) {
	at := time.Duration(n.ConfiguredNS)
	class := running
	note := fmt.Sprintf("%s, %s %v", n.Role, n.State, n.Addresses)
	if at != 0 {
		note += fmt.Sprintf(", %s ms", ms(at))
	}
	if n.Error != "" {
		class = string(plan.Failed)
		note += ": " + n.Error
	}
	p.row(n.Name, note)
	if at != 0 {
		p.mark(class, at)
	}
	p.note(at, note)
}

// svg puts the title, the axis and the legend around the rows.
func (p *picture) svg(r arcsetup.Report) string {
	var c canvas
	height := p.y + legend
	c.WriteString(fmt.Sprintf("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">\n", width, height, width, height))
	c.WriteString(style)
	c.WriteString(fmt.Sprintf("<rect class=\"page\" width=\"%d\" height=\"%d\"/>\n", width, height))
	c.text("title", 10, 26, "arcinit "+r.Version+" on Linux "+r.Kernel, "")
	summary := r.Count()
	if r.AgentStarted != 0 {
		summary += fmt.Sprintf("; agent started %s ms after /init, %s ms after the kernel", ms(r.AgentStarted-r.Start), ms(r.AgentStarted))
	}
	c.text("note", 10, 44, summary, "")

	upright := func(class string, t time.Duration, y int, text string) {
		c.path(class, "M%.1f %dV%d", p.axis.x(t), top, p.y)
		c.text("mid", p.axis.x(t), y, text, "")
	}
	c.rect("kernel", left, top, p.axis.begin-left)
	c.text("note", 10, top-28, "kernel "+ms(p.axis.start)+" ms", "")
	if p.axis.squeezed {
		c.text("note", 10, top-14, "not to scale", "")
		c.path("page", "M%d %dl6 -14h6l-6 14z", left+squeezed/2-6, top+barHeight+2)
	}
	step := p.axis.tick()
	for t := (p.axis.start + step - 1) / step * step; t <= p.axis.end; t += step {
		upright("grid", t, top-14, fmt.Sprintf("%g ms", float64(t)/1e6))
	}
	upright("mark", p.axis.start, top-28, "/init")
	if r.AgentStarted != 0 {
		upright("mark", r.AgentStarted, top-28, "agent")
	}
	c.WriteString(p.lines.String())
	c.WriteString(p.rows.String())
	for i, o := range []plan.Outcome{plan.OK, plan.Already, plan.Unavailable, plan.Failed, running} {
		x := float64(left + i*110)
		c.rect(string(o), x, p.y+18, 10)
		c.text("", x+15, p.y+27, string(o), "")
	}
	c.WriteString("</svg>\n")
	return c.String()
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/1e6) }

// escape makes XML text of a report's string, which may hold any bytes.
func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder takes everything
	return b.String()
}
