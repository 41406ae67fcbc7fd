package main

import (
	_ "embed"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

//go:embed plot.svg.tmpl
var plotTemplate string

// The places of the time axis and of the first lane in the picture, in pixels.
const left, right, top = 110.0, 990.0, 92

const running = "runs" // the class of services, and of NICs that work; a step's class is its outcome

// picture is what plot.svg.tmpl draws.
type picture struct {
	arcsetup.Report
	Lanes  []lane
	Bottom int // of the last lane, in pixels

	end time.Duration // of the time axis, which begins with /init
}

// lane is a group of rows.
type lane struct {
	Name string
	Rows []*row
}

// row is a step, or something that happened at the time End; zero stands for never.
type row struct {
	Name, Tip, Class, Note string
	Start, End             time.Duration
	Width                  float64 // of a step's bar, in pixels
	Y                      int
}

// draw writes the boot as an SVG picture: when each step ran, what it needed and how it ended,
// when each NIC was configured, and when services were started.
func draw(w io.Writer, r arcsetup.Report, network netd.Report) error {
	p := &picture{Report: r, Bottom: top, end: max(r.End(), r.Start+1)}
	p.addLane("steps", p.steps())
	p.addLane("network", networkRows(network))
	p.addLane("services", serviceRows(r))
	t := template.Must(template.New("plot").Funcs(template.FuncMap{
		"xml": escape, "ms": ms,
		"round": func(t time.Duration) string { return fmt.Sprintf("%g", float64(t)/1e6) },
		"since": func(a, b time.Duration) time.Duration { return a - b },
		"add":   func(a, b int) int { return a + b },
	}).Parse(plotTemplate))
	return t.Execute(w, p)
}

// addLane adds a lane, unless it is empty.
func (p *picture) addLane(name string, rows []*row) {
	if len(rows) == 0 {
		return
	}
	p.Bottom += 28
	p.Lanes = append(p.Lanes, lane{name, rows})
	for _, r := range rows {
		if r.End > p.end {
			r.Note = "later: " + r.Note
		}
		r.Y = p.Bottom
		p.Bottom += 14
	}
}

func (p *picture) steps() (rows []*row) {
	for _, s := range p.ByStart() {
		r := &row{Name: s.Step, Class: string(s.Outcome), Start: s.Start, End: s.End}
		r.Width = max(p.place(s.End)-p.place(s.Start), 1.5)
		r.Tip = fmt.Sprintf("%s: %s, %s to %s ms. %s", s.Doc, s.Outcome, ms(s.Start), ms(s.End), s.Error)
		if r.Width > 25 {
			r.Note = ms(s.End-s.Start) + " ms"
		}
		rows = append(rows, r)
	}
	return rows
}

func networkRows(r netd.Report) (rows []*row) {
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
		rows = append(rows, &row{Name: n.Name, Class: class, Note: note, End: at})
	}
	return rows
}

func serviceRows(r arcsetup.Report) (rows []*row) {
	for _, s := range r.Services {
		note := fmt.Sprintf("started %s ms", ms(s.Since))
		if s.LastEnd != "" {
			note += fmt.Sprintf(", %d ends, the last: %s", s.Ends, s.LastEnd)
		}
		rows = append(rows, &row{Name: s.Name, Class: running, Note: note, End: s.Since})
	}
	return rows
}

// need is a line from the end of a step to the start of one that needs it.
type need struct{ From, To *row }

// Needs are the lines between the steps.
func (p *picture) Needs() (lines []need) {
	steps, needs := p.ByStart(), map[string][]string{}
	for _, s := range steps {
		needs[s.Step] = s.Needs
	}
	for i, s := range steps {
		for j, needed := range steps {
			// If another needed step needs this one, the line to that step leads here, too.
			indirect := func(other string) bool { return slices.Contains(needs[other], needed.Step) }
			if slices.Contains(s.Needs, needed.Step) && !slices.ContainsFunc(s.Needs, indirect) {
				lines = append(lines, need{p.Lanes[0].Rows[j], p.Lanes[0].Rows[i]})
			}
		}
	}
	return lines
}

// Ticks are round times that divide the axis into at most eight parts.
func (p *picture) Ticks() (ticks []time.Duration) {
	step := time.Microsecond
	for i := 0; (p.end-p.Start)/step > 8; i++ {
		step = step * [...]time.Duration{20, 25, 20}[i%3] / 10 // 1, 2, 5, 10
	}
	for t := (p.Start + step - 1) / step * step; t <= p.end; t += step {
		ticks = append(ticks, t)
	}
	return ticks
}

// place is the place of a time on the axis. A time beyond the axis is at its end.
func (p *picture) place(t time.Duration) float64 {
	return left + (right-left)*float64(min(max(t, p.Start), p.end)-p.Start)/float64(p.end-p.Start)
}

// X is place for the template.
func (p *picture) X(t time.Duration) string { return fmt.Sprintf("%.1f", p.place(t)) }

// IsLate reports whether the note of an event has room on the left only.
func (p *picture) IsLate(r *row) bool { return r.Width == 0 && p.place(r.End) > (left+right)/2 }

func ms(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/1e6) }

// escape makes XML text of a report's string, which may hold any bytes.
func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder takes everything
	return b.String()
}
