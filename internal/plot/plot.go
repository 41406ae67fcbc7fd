// Package plot draws a boot as an SVG picture: what ran when, what waited for
// what, and how it ended. It knows reports alone, and touches no system.
package plot

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
	left      = 110 // the names are to the left of it
	right     = width - 110
	squeezed  = 70 // the kernel's part, where it is not to scale
	top       = 92
	rowHeight = 14
	barHeight = 10
	laneGap   = 26 // above a lane, for its name
	legend    = 40
)

// style has the colours for light and dark. Outcomes are those of package plan.
const style = `<style>
text{font:11px system-ui,sans-serif;fill:#1f2328}
.title{font-size:16px;font-weight:600}.lane{font-weight:600}.name{text-anchor:end}.mid{text-anchor:middle}
.note{fill:#656d76}.grid{stroke:#d0d7de}.need{stroke:#656d76;stroke-width:.6;fill:none;opacity:.55}.mark{stroke:#1f2328;stroke-dasharray:3 2}.message{stroke:#1f2328}
.page{fill:#ffffff}.kernel{fill:#afb8c1}.ok{fill:#1a7f37}.already{fill:#54aeff}.unavailable{fill:#bf8700}.failed{fill:#cf222e}.runs{fill:#8250df}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}.note{fill:#9198a1}.grid{stroke:#30363d}.need{stroke:#9198a1}.mark,.message{stroke:#e6edf3}
.page{fill:#0d1117}.kernel{fill:#484f58}.ok{fill:#3fb950}.already{fill:#388bfd}.unavailable{fill:#d29922}.failed{fill:#f85149}.runs{fill:#a371f7}
}
</style>
`

// Draw writes the boot as an SVG. A network without NICs has no lane.
func Draw(w io.Writer, r arcsetup.Report, network netd.Report) error {
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
			p.bar("runs", p.axis.x(s.Since), right)
		}
		if s.Since != 0 {
			p.mark("runs", s.Since)
			if x := p.axis.x(s.Since); s.PID == 0 || s.Since > p.axis.end {
				p.beside(x, x, p.dated(s.Since, note))
			}
		}
	}
	if _, err := io.WriteString(w, p.svg(r)); err != nil {
		return fmt.Errorf("draw the boot: %w", err)
	}
	return nil
}

// axis is the time axis. The kernel's part is to scale unless it is longer than
// the rest.
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

// x is the place of a time. What is outside of the axis is at its end.
func (a axis) x(t time.Duration) float64 {
	t = min(max(t, 0), a.end)
	if t < a.start {
		return left + (a.begin-left)*float64(t)/float64(a.start)
	}
	return a.begin + (right-a.begin)*float64(t-a.start)/float64(a.end-a.start)
}

// tick is a round time between two marks of the axis: some eight of them.
func (a axis) tick() time.Duration {
	step := time.Microsecond
	for i := 0; (a.end-a.start)/step > 8; i++ {
		step = step * [...]time.Duration{20, 25, 20}[i%3] / 10 // 1, 2, 5, 10
	}
	return step
}

// picture is drawn from top to bottom; rows lie above the lines.
type picture struct {
	axis        axis
	y           int
	lines, rows strings.Builder
}

func (p *picture) lane(name string) {
	p.y += laneGap
	fmt.Fprintf(&p.rows, "<text class=\"lane\" x=\"10\" y=\"%d\">%s</text>\n", p.y-8, escape(name))
}

// row begins a row; what there is to say of it shows under the pointer.
func (p *picture) row(name, note string) {
	p.y += rowHeight
	fmt.Fprintf(&p.rows, "<text class=\"name\" x=\"%d\" y=\"%d\">%s<title>%s</title></text>\n", left-6, p.y-3, escape(name), escape(note))
}

func (p *picture) bar(class string, from, to float64) {
	fmt.Fprintf(&p.rows, "<rect class=\"%s\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>\n",
		escape(class), from, p.y-rowHeight+2, max(to-from, 1.5), barHeight)
}

// mark is a diamond at a point of time.
func (p *picture) mark(class string, at time.Duration) {
	fmt.Fprintf(&p.rows, "<path class=\"%s\" d=\"M%.1f %dl5 5l-5 5l-5 -5z\"/>\n", class, p.axis.x(at), p.y-rowHeight/2-5)
}

// dated is a note on a point of time, which may be beyond the axis.
func (p *picture) dated(at time.Duration, note string) string {
	if at > p.axis.end {
		return "later: " + note
	}
	return note
}

// beside writes a note where there is room for it: before or behind what is drawn
// from one place to another.
func (p *picture) beside(from, to float64, note string) {
	x, anchor := to+8, ""
	if to > (left+right)/2 {
		x, anchor = from-8, " name"
	}
	fmt.Fprintf(&p.rows, "<text class=\"note%s\" x=\"%.1f\" y=\"%d\">%s</text>\n", anchor, x, p.y-3, escape(note))
}

func (p *picture) steps(steps []plan.Result) {
	rows := map[string]int{}
	ends := map[string]float64{}
	needs := map[string][]string{}
	for _, s := range steps {
		p.row(s.Step, fmt.Sprintf("%s: %s, %s to %s ms. %s", s.Doc, s.Outcome, ms(s.Start), ms(s.End), s.Error))
		from, to := p.axis.x(s.Start), p.axis.x(s.End)
		p.bar(string(s.Outcome), from, to)
		if took := s.End - s.Start; to-from > 25 {
			fmt.Fprintf(&p.rows, "<text class=\"note\" x=\"%.1f\" y=\"%d\">%s ms</text>\n", to+4, p.y-3, ms(took))
		}
		rows[s.Step], ends[s.Step], needs[s.Step] = p.y-rowHeight/2, to, s.Needs
	}
	for _, s := range steps {
		for _, need := range direct(s.Needs, needs) {
			if y, ok := rows[need]; ok {
				fmt.Fprintf(&p.lines, "<path class=\"need\" d=\"M%.1f %dL%.1f %d\"/>\n", ends[need], y, p.axis.x(s.Start), rows[s.Step])
			}
		}
	}
}

// direct leaves out the needs that others of them need themselves.
func direct(names []string, needs map[string][]string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return slices.ContainsFunc(names, func(other string) bool { return slices.Contains(needs[other], name) })
	})
}

func (p *picture) nic(n netd.NIC) {
	note := fmt.Sprintf("%s, %s %v", n.Role, n.State, n.Addresses)
	if n.ConfiguredNS != 0 {
		note += fmt.Sprintf(", %s ms", ms(time.Duration(n.ConfiguredNS)))
	}
	class := "runs"
	if n.Error != "" {
		class = string(plan.Failed)
		note += ": " + n.Error
	}
	p.row(n.Name, note)
	from, to := p.messages(n.Messages.First)
	if at := time.Duration(n.ConfiguredNS); at != 0 {
		p.mark(class, at)
		note = p.dated(at, note)
		to = p.axis.x(at)
		if from == left {
			from = to
		}
	}
	p.beside(from, to, note)
}

// messages are strokes with their initials, where there is room for these. They are
// drawn from one place to another: at the left, if there are none.
func (p *picture) messages(first []netd.Message) (from, to float64) {
	const room = 9 // for a letter, in pixels
	from, to = left, left
	written := 0.0
	for _, m := range first {
		at := time.Duration(m.AtNS)
		if at > p.axis.end {
			break
		}
		x := p.axis.x(at)
		if from == left {
			from = x - room
		}
		to = x
		fmt.Fprintf(&p.rows, "<path class=\"message\" d=\"M%.1f %dv%d\"><title>%s, %s ms</title></path>\n",
			x, p.y-rowHeight+2, barHeight, escape(m.Type), ms(at))
		if m.Type != "" && x-written >= room {
			written = x
			fmt.Fprintf(&p.rows, "<text class=\"note name\" x=\"%.1f\" y=\"%d\">%s</text>\n", x-1, p.y-3, escape(m.Type[:1]))
		}
	}
	return from, to
}

// svg puts the title, the axis and the legend around what is drawn.
func (p *picture) svg(r arcsetup.Report) string {
	var b strings.Builder
	height := p.y + legend
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">\n", width, height, width, height)
	b.WriteString(style)
	fmt.Fprintf(&b, "<rect class=\"page\" width=\"%d\" height=\"%d\"/>\n", width, height)
	fmt.Fprintf(&b, "<text class=\"title\" x=\"10\" y=\"26\">arcinit %s on Linux %s</text>\n", escape(r.Version), escape(r.Kernel))
	said := r.Count()
	if r.AgentStarted != 0 {
		said += fmt.Sprintf("; agent started %s ms after /init, %s ms after the kernel", ms(r.AgentStarted-r.Start), ms(r.AgentStarted))
	}
	fmt.Fprintf(&b, "<text class=\"note\" x=\"10\" y=\"44\">%s</text>\n", escape(said))

	kernel := "kernel " + ms(p.axis.start) + " ms"
	fmt.Fprintf(&b, "<rect class=\"kernel\" x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\"><title>%s</title></rect>\n",
		left, top, p.axis.begin-left, barHeight, kernel)
	fmt.Fprintf(&b, "<text class=\"note\" x=\"10\" y=\"%d\">%s</text>\n", top-28, kernel)
	if p.axis.squeezed {
		fmt.Fprintf(&b, "<text class=\"note\" x=\"10\" y=\"%d\">not to scale</text>\n", top-14)
		fmt.Fprintf(&b, "<path class=\"page\" d=\"M%d %dl6 -14h6l-6 14z\"/>\n", left+squeezed/2-6, top+barHeight+2)
	}
	step := p.axis.tick()
	for t := (p.axis.start + step - 1) / step * step; t <= p.axis.end; t += step {
		x := p.axis.x(t)
		fmt.Fprintf(&b, "<path class=\"grid\" d=\"M%.1f %dV%d\"/>\n", x, top, p.y)
		fmt.Fprintf(&b, "<text class=\"note mid\" x=\"%.1f\" y=\"%d\">%g ms</text>\n", x, top-14, float64(t)/1e6)
	}
	fmt.Fprintf(&b, "<path class=\"mark\" d=\"M%.1f %dV%d\"/>\n", p.axis.begin, top, p.y)
	fmt.Fprintf(&b, "<text class=\"mid\" x=\"%.1f\" y=\"%d\">/init</text>\n", p.axis.begin, top-28)
	if r.AgentStarted != 0 {
		x := p.axis.x(r.AgentStarted)
		fmt.Fprintf(&b, "<path class=\"mark\" d=\"M%.1f %dV%d\"/>\n", x, top, p.y)
		fmt.Fprintf(&b, "<text class=\"mid\" x=\"%.1f\" y=\"%d\">agent</text>\n", x, top-28)
	}
	b.WriteString(p.lines.String())
	b.WriteString(p.rows.String())
	for i, o := range []plan.Outcome{plan.OK, plan.Already, plan.Unavailable, plan.Failed, "runs"} {
		x := left + i*110
		fmt.Fprintf(&b, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"10\" height=\"10\"/><text x=\"%d\" y=\"%d\">%s</text>\n",
			o, x, p.y+18, x+15, p.y+27, o)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/1e6) }

// escape makes text and attribute values of what a report may hold: it may have
// been written by anyone.
func escape(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\ufffe' || r == '\uffff' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\ufffd"))
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "\"", "&quot;").Replace(text)
}
