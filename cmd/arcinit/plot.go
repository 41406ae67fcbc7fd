package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"

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

// picture is drawn row by row from top to bottom. The rows are drawn over the lines.
type picture struct {
	axis        axis
	y           int // the lower edge of the row
	lines, rows strings.Builder
}

// lane begins a group of rows.
func (p *picture) lane(name string) {
	p.y += laneGap
	fmt.Fprintf(&p.rows, "<text class=\"lane\" x=\"10\" y=\"%d\">%s</text>\n", p.y-8, escape(name))
}

// row begins a row. A viewer shows the note when the pointer is on the name.
func (p *picture) row(name, note string) {
	p.y += rowHeight
	fmt.Fprintf(&p.rows, "<text class=\"name\" x=\"%d\" y=\"%d\">%s<title>%s</title></text>\n", left-6, p.y-3, escape(name), escape(note))
}

func (p *picture) bar(class string, from, to float64) {
	fmt.Fprintf(&p.rows, "<rect class=\"%s\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>\n",
		escape(class), from, p.y-rowHeight+2, max(to-from, 1.5), barHeight)
}

// mark draws a diamond at a point in time.
func (p *picture) mark(class string, at time.Duration) {
	fmt.Fprintf(&p.rows, "<path class=\"%s\" d=\"M%.1f %dl5 5l-5 5l-5 -5z\"/>\n", class, p.axis.x(at), p.y-rowHeight/2-5)
}

// note writes text beside a point in time, on the side that has room.
func (p *picture) note(at time.Duration, text string) {
	if at > p.axis.end {
		text = "later: " + text
	}
	x, anchor := p.axis.x(at)+8, ""
	if x > (left+right)/2 {
		x, anchor = x-16, " name"
	}
	fmt.Fprintf(&p.rows, "<text class=\"note%s\" x=\"%.1f\" y=\"%d\">%s</text>\n", anchor, x, p.y-3, escape(text))
}

func (p *picture) steps(steps []plan.Result) {
	rows := map[string]int{}
	needs := map[string][]string{}
	for _, s := range steps {
		p.row(s.Step, fmt.Sprintf("%s: %s, %s to %s ms. %s", s.Doc, s.Outcome, ms(s.Start), ms(s.End), s.Error))
		from, to := p.axis.x(s.Start), p.axis.x(s.End)
		p.bar(string(s.Outcome), from, to)
		if to-from > 25 {
			fmt.Fprintf(&p.rows, "<text class=\"note\" x=\"%.1f\" y=\"%d\">%s ms</text>\n", to+4, p.y-3, ms(s.End-s.Start))
		}
		rows[s.Step], needs[s.Step] = p.y-rowHeight/2, s.Needs
	}
	for _, s := range steps {
		for _, needed := range steps {
			if isDirect(needed.Step, s.Needs, needs) {
				fmt.Fprintf(&p.lines, "<path class=\"need\" d=\"M%.1f %dL%.1f %d\"/>\n",
					p.axis.x(needed.End), rows[needed.Step], p.axis.x(s.Start), rows[s.Step])
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
	var b strings.Builder
	text := func(class string, x float64, y int, text string) {
		fmt.Fprintf(&b, "<text class=\"%s\" x=\"%.1f\" y=\"%d\">%s</text>\n", class, x, y, escape(text))
	}
	upright := func(class string, x float64) {
		fmt.Fprintf(&b, "<path class=\"%s\" d=\"M%.1f %dV%d\"/>\n", class, x, top, p.y)
	}
	height := p.y + legend
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">\n", width, height, width, height)
	b.WriteString(style)
	fmt.Fprintf(&b, "<rect class=\"page\" width=\"%d\" height=\"%d\"/>\n", width, height)
	text("title", 10, 26, "arcinit "+r.Version+" on Linux "+r.Kernel)
	summary := r.Count()
	if r.AgentStarted != 0 {
		summary += fmt.Sprintf("; agent started %s ms after /init, %s ms after the kernel", ms(r.AgentStarted-r.Start), ms(r.AgentStarted))
	}
	text("note", 10, 44, summary)

	fmt.Fprintf(&b, "<rect class=\"kernel\" x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>\n", left, top, p.axis.begin-left, barHeight)
	text("note", 10, top-28, "kernel "+ms(p.axis.start)+" ms")
	if p.axis.squeezed {
		text("note", 10, top-14, "not to scale")
		fmt.Fprintf(&b, "<path class=\"page\" d=\"M%d %dl6 -14h6l-6 14z\"/>\n", left+squeezed/2-6, top+barHeight+2)
	}
	step := p.axis.tick()
	for t := (p.axis.start + step - 1) / step * step; t <= p.axis.end; t += step {
		upright("grid", p.axis.x(t))
		text("note mid", p.axis.x(t), top-14, fmt.Sprintf("%g ms", float64(t)/1e6))
	}
	upright("mark", p.axis.begin)
	text("mid", p.axis.begin, top-28, "/init")
	if r.AgentStarted != 0 {
		upright("mark", p.axis.x(r.AgentStarted))
		text("mid", p.axis.x(r.AgentStarted), top-28, "agent")
	}
	b.WriteString(p.lines.String())
	b.WriteString(p.rows.String())
	for i, o := range []plan.Outcome{plan.OK, plan.Already, plan.Unavailable, plan.Failed, running} {
		x := left + i*110
		fmt.Fprintf(&b, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"10\" height=\"10\"/>\n", o, x, p.y+18)
		text("", float64(x+15), p.y+27, string(o))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/1e6) }

// escape makes XML text of a report's string, which may hold any bytes.
func escape(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\ufffe' || r == '\uffff' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\ufffd"))
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "\"", "&quot;").Replace(text)
}
