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
	kernel    = 70 // width of the part before /init where that is not to scale
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
// when each NIC was configured, and which services run.
func draw(w io.Writer, r arcsetup.Report, network netd.Report) error {
	rows := newPicture(r)
	rows.steps(r.ByStart())
	rows.network(network)
	rows.services(r)
	page := newPicture(r)
	page.frame(r, rows.y)
	_, err := io.WriteString(w, page.String()+rows.String()+"</svg>\n")
	return err
}

// picture is the text of the SVG. A later element is drawn over those before it.
type picture struct {
	strings.Builder
	y int // the lower edge of the row

	// The time axis. /init starts at begin. The kernel's part before that is to scale
	// unless it is longer than the rest.
	start, end time.Duration
	begin      float64
	squeezed   bool
}

func newPicture(r arcsetup.Report) *picture {
	p := &picture{y: top, start: max(r.Start, 0)}
	p.end = max(r.End(), p.start+1)
	p.begin = left + (right-left)*float64(p.start)/float64(p.end)
	if p.squeezed = p.start > p.end-p.start; p.squeezed {
		p.begin = left + kernel
	}
	return p
}

// x is the place of t. A time beyond the axis is at the axis's end.
func (p *picture) x(t time.Duration) float64 {
	t = min(max(t, 0), p.end)
	if t < p.start {
		return left + (p.begin-left)*float64(t)/float64(p.start)
	}
	return p.begin + (right-p.begin)*float64(t-p.start)/float64(p.end-p.start)
}

// tick is a round time that divides the axis into at most eight parts.
func (p *picture) tick() time.Duration {
	step := time.Microsecond
	for i := 0; (p.end-p.start)/step > 8; i++ {
		step = step * [...]time.Duration{20, 25, 20}[i%3] / 10 // 1, 2, 5, 10
	}
	return step
}

func (p *picture) rect(class string, x float64, y int, width float64) {
	fmt.Fprintf(&p.Builder, "<rect class=\"%s\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>\n", escape(class), x, y, width, barHeight)
}

func (p *picture) path(class, format string, args ...any) {
	fmt.Fprintf(&p.Builder, "<path class=\"%s\" d=\"%s\"/>\n", class, fmt.Sprintf(format, args...))
}

// text writes text; a viewer shows the tip when the pointer is on it.
func (p *picture) text(class string, x float64, y int, text, tip string) {
	if tip != "" {
		tip = "<title>" + escape(tip) + "</title>"
	}
	fmt.Fprintf(&p.Builder, "<text class=\"%s\" x=\"%.1f\" y=\"%d\">%s%s</text>\n", class, x, y, escape(text), tip)
}

// upright draws a line through all rows at a point in time, with text above it.
func (p *picture) upright(class string, t time.Duration, bottom, y int, text string) {
	p.path(class, "M%.1f %dV%d", p.x(t), top, bottom)
	p.text("mid", p.x(t), y, text, "")
}

// frame draws the title, the axis and the legend around the rows, which end at bottom.
func (p *picture) frame(r arcsetup.Report, bottom int) {
	height := bottom + legend
	fmt.Fprintf(&p.Builder, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">\n", width, height, width, height)
	fmt.Fprintf(&p.Builder, "%s<rect class=\"page\" width=\"%d\" height=\"%d\"/>\n", style, width, height)
	p.text("title", 10, 26, "arcinit "+r.Version+" on Linux "+r.Kernel+", as "+r.Role, "")
	p.rect("kernel", left, top, p.begin-left)
	p.text("note", 10, top-28, "kernel "+ms(p.start)+" ms", "")
	if p.squeezed {
		p.text("note", 10, top-14, "not to scale", "")
		p.path("page", "M%d %dl6 -14h6l-6 14z", left+kernel/2-6, top+barHeight+2)
	}
	step := p.tick()
	for t := (p.start + step - 1) / step * step; t <= p.end; t += step {
		p.upright("grid", t, bottom, top-14, fmt.Sprintf("%g ms", float64(t)/1e6))
	}
	p.upright("mark", p.start, bottom, top-28, "/init")
	summary := r.Count()
	if r.AgentStarted != 0 {
		summary += fmt.Sprintf("; agent started %s ms after /init, %s ms after the kernel", ms(r.AgentStarted-r.Start), ms(r.AgentStarted))
		p.upright("mark", r.AgentStarted, bottom, top-28, "agent")
	}
	p.text("note", 10, 44, summary, "")
	for i, o := range []plan.Outcome{plan.OK, plan.Already, plan.Unavailable, plan.Failed, running} {
		x := float64(left + i*110)
		p.rect(string(o), x, bottom+18, 10)
		p.text("", x+15, bottom+27, string(o), "")
	}
}

// lane begins a group of rows, if there are any.
func (p *picture) lane(name string, rows int) {
	if rows > 0 {
		p.y += laneGap
		p.text("lane", 10, p.y-8, name, "")
	}
}

// row begins a row.
func (p *picture) row(name, tip string) {
	p.y += rowHeight
	p.text("name", left-6, p.y-3, name, tip)
}

func (p *picture) bar(class string, from, to time.Duration) {
	p.rect(class, p.x(from), p.y-rowHeight+2, max(p.x(to)-p.x(from), 1.5))
}

// mark draws a diamond at a point in time. Zero stands for never.
func (p *picture) mark(class string, at time.Duration) {
	if at != 0 {
		p.path(class, "M%.1f %dl5 5l-5 5l-5 -5z", p.x(at), p.y-rowHeight/2-5)
	}
}

// note writes text beside a point in time, on the side that has room.
func (p *picture) note(at time.Duration, text string) {
	if at > p.end {
		text = "later: " + text
	}
	class, x := "note", p.x(at)+8
	if x > (left+right)/2 {
		class, x = "note name", x-16
	}
	p.text(class, x, p.y-3, text, "")
}

func (p *picture) steps(steps []plan.Result) {
	p.lane("steps", len(steps))
	p.needs(steps)
	for _, s := range steps {
		p.row(s.Step, fmt.Sprintf("%s: %s, %s to %s ms. %s", s.Doc, s.Outcome, ms(s.Start), ms(s.End), s.Error))
		p.bar(string(s.Outcome), s.Start, s.End)
		if end := p.x(s.End); end-p.x(s.Start) > 25 {
			p.text("note", end+4, p.y-3, ms(s.End-s.Start)+" ms", "")
		}
	}
}

// needs draws a line to each step from the steps that it needs. Their rows follow.
func (p *picture) needs(steps []plan.Result) {
	needs := map[string][]string{}
	for _, s := range steps {
		needs[s.Step] = s.Needs
	}
	middle := p.y + rowHeight/2
	for i, s := range steps {
		for j, needed := range steps {
			// If another needed step needs this one, the line to that step leads here, too.
			indirect := func(other string) bool { return slices.Contains(needs[other], needed.Step) }
			if slices.Contains(s.Needs, needed.Step) && !slices.ContainsFunc(s.Needs, indirect) {
				p.path("need", "M%.1f %dL%.1f %d", p.x(needed.End), middle+j*rowHeight, p.x(s.Start), middle+i*rowHeight)
			}
		}
	}
}

func (p *picture) network(r netd.Report) {
	p.lane("network", len(r.NICs))
	for _, n := range r.NICs {
		at, class := time.Duration(n.ConfiguredNS), running
		note := fmt.Sprintf("%s, %s %v", n.Role, n.State, n.Addresses)
		if at != 0 {
			note += fmt.Sprintf(", %s ms", ms(at))
		}
		if n.Error != "" {
			class = string(plan.Failed)
			note += ": " + n.Error
		}
		p.row(n.Name, note)
		p.mark(class, at)
		p.note(at, note)
	}
}

func (p *picture) services(r arcsetup.Report) {
	p.lane("services", len(r.Services))
	for _, s := range r.Services {
		note := fmt.Sprintf("started %s ms", ms(s.Since))
		if s.LastEnd != "" {
			note += fmt.Sprintf(", %d ends, the last: %s", s.Ends, s.LastEnd)
		}
		p.row(s.Name, note)
		p.mark(running, s.Since)
		if s.PID != 0 {
			p.bar(running, s.Since, p.end)
		}
		if s.PID == 0 || s.Since > p.end {
			p.note(s.Since, note)
		}
	}
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/1e6) }

// escape makes XML text of a report's string, which may hold any bytes.
func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder takes everything
	return b.String()
}
