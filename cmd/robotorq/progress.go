package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// progress is a bar with rate and time left. It draws on a terminal and is
// silent in a pipe.
type progress struct {
	w io.Writer // nil: silent

	what        string
	done, total uint64
	print       func(uint64) string
	began       time.Time
	drawn       time.Time
	width       int
}

func newProgress(w io.Writer, asJSON bool) *progress {
	if asJSON || !isTerminal(w) {
		w = nil
	}
	return &progress{w: w}
}

// at says how far a stage is. The stages "log" and "packs" are counted in bytes.
func (p *progress) at(stage string, done, total uint64) {
	if p.w == nil {
		return
	}
	now := time.Now()
	if stage != p.what {
		p.what, p.began, p.print = stage, now, func(n uint64) string { return counted(n) }
		if stage == "log" || stage == "packs" {
			p.print = bytesOf
		}
	}
	p.done, p.total = done, total
	if now.Sub(p.drawn) >= 100*time.Millisecond {
		p.drawn = now
		p.draw(now)
	}
}

func (p *progress) draw(now time.Time) {
	passed := max(now.Sub(p.began), time.Millisecond)
	perSecond := uint64(float64(p.done) / passed.Seconds())
	text := fmt.Sprintf("%s  %s", p.what, p.print(p.done))
	if p.total > 0 {
		const cells = 20
		filled := int(min(p.done, p.total) * cells / p.total)
		text = fmt.Sprintf("%s  [%s%s] %s of %s", p.what, strings.Repeat("=", filled), strings.Repeat(" ", cells-filled), p.print(p.done), p.print(p.total))
	}
	text += fmt.Sprintf("  %s/s", p.print(perSecond))
	if p.total > p.done && perSecond > 0 {
		text += fmt.Sprintf("  %s left", (time.Duration((p.total-p.done)/perSecond) * time.Second).Round(time.Second))
	}
	p.line(text)
}

// line replaces the line on the terminal.
func (p *progress) line(text string) {
	fmt.Fprintf(p.w, "\r%s%s", text, strings.Repeat(" ", max(0, p.width-len(text))))
	p.width = len(text)
}

// end takes the bar away.
func (p *progress) end() {
	if p.w == nil {
		return
	}
	p.line("")
	fmt.Fprint(p.w, "\r")
	p.width = 0
}
