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
.page{fill:#ffffff}.ok{fill:#1a7f37}.already{fill:#54aeff}.unavailable{fill:#bf8700}.failed{fill:#cf222e}.runs{fill:#8250df}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}.note{fill:#9198a1}.grid{stroke:#30363d}.need{stroke:#9198a1}.mark{stroke:#e6edf3}
.page{fill:#0d1117}.ok{fill:#3fb950}.already{fill:#388bfd}.unavailable{fill:#d29922}.failed{fill:#f85149}.runs{fill:#a371f7}
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

	start, end time.Duration // of the time axis, from /init to the end of the boot
}

func newPicture(r arcsetup.Report) *picture {
	start := max(r.Start, 0)
	return &picture{y: top, start: start, end: max(r.End(), start+1)}
}

// x is the place of t. A time beyond the axis is at the axis's end.
func (p *picture) x(t time.Duration) float64 {
	return left + (right-left)*float64(min(max(t, p.start), p.end)-p.start)/float64(p.end-p.start)
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
	step := p.tick()
	for t := (p.start + step - 1) / step * step; t <= p.end; t += step {
		p.upright("grid", t, bottom, top-14, fmt.Sprintf("%g ms", float64(t)/1e6))
	}
	p.upright("mark", p.start, bottom, top-28, "/init, "+ms(p.start)+" ms after the kernel")
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

// event draws a row with a diamond at a point in time, and the note beside that, on the
// side that has room. Zero stands for never.
func (p *picture) event(name, class string, at time.Duration, note string) {
	p.row(name, note)
	if at != 0 {
		p.path(class, "M%.1f %dl5 5l-5 5l-5 -5z", p.x(at), p.y-rowHeight/2-5)
	}
	if at > p.end {
		note = "later: " + note
	}
	side, x := "note", p.x(at)+8
	if x > (left+right)/2 {
		side, x = "note name", x-16
	}
	p.text(side, x, p.y-3, note, "")
}

func (p *picture) steps(steps []plan.Result) {
	p.lane("steps", len(steps))
	p.needs(steps)
	for _, s := range steps {
		p.row(s.Step, fmt.Sprintf("%s: %s, %s to %s ms. %s", s.Doc, s.Outcome, ms(s.Start), ms(s.End), s.Error))
		begin, end := p.x(s.Start), p.x(s.End)
		p.rect(string(s.Outcome), begin, p.y-rowHeight+2, max(end-begin, 1.5))
		if end-begin > 25 {
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
		p.event(n.Name, class, at, note)
	}
}

func (p *picture) services(r arcsetup.Report) {
	p.lane("services", len(r.Services))
	for _, s := range r.Services {
		note := fmt.Sprintf("started %s ms", ms(s.Since))
		if s.LastEnd != "" {
			note += fmt.Sprintf(", %d ends, the last: %s", s.Ends, s.LastEnd)
		}
		p.event(s.Name, running, s.Since, note)
	}
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/1e6) }

// escape makes XML text of a report's string, which may hold any bytes.
func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder takes everything
	return b.String()
}
