package web

import (
	"fmt"
	"html/template"
	"net/http"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/torq"
)

// This file shows a robot's report: the bottom of the way down.

type reportData struct {
	R        api.Report
	Power    chart
	Rate     chart
	Readings listing[readingLine]
	Thinned  bool // the charts put neighbours together
}

// readingLine is a reading with what follows from it.
type readingLine struct {
	api.Reading
	Watts string
	Rate  string // tokens per second
	Ore   string // with six decimals
}

func (s *Site) report(r *http.Request) (view, error) {
	digest := r.PathValue("digest")
	report, err := s.options.Reader.Report(r.Context(), digest)
	if err != nil {
		return view{}, err
	}
	readings, err := s.options.Reader.Readings(r.Context(), digest, pageOf(r))
	if err != nil {
		return view{}, err
	}
	lines := api.List[readingLine]{Next: readings.Next}
	for _, m := range readings.Items {
		lines.Items = append(lines.Items, lineOf(m))
	}
	d := reportData{R: report, Readings: listingOf(r, lines, "#readings"), Thinned: uint64(len(report.Samples)) < report.Readings}
	d.Power = samplePlot("Power over time", "W", report.Samples, report.Watts*10, func(m api.Reading) uint64 { return mulDiv(m.Energy, 10, span(m)) })
	d.Rate = samplePlot("Tokens per second over time", "tokens/s", report.Samples, report.TokenRate*10, func(m api.Reading) uint64 { return mulDiv(m.Tokens, 10_000, span(m)) })
	return view{Template: "report", Title: fmt.Sprintf("Report %s of %s", number(report.Seq), report.Robot), Section: "robots", Data: d}, nil
}

func span(m api.Reading) uint64 { return uint64(max(m.Active, 1)) }

func lineOf(m api.Reading) readingLine {
	micro := torq.MicroOre(m.Energy, m.Tokens, span(m))
	line := readingLine{Reading: m, Watts: tenth(mulDiv(m.Energy, 10, span(m))), Rate: tenth(mulDiv(m.Tokens, 10_000, span(m)))}
	if whole, rest, err := torq.SplitOre(micro); err == nil {
		line.Ore = fmt.Sprintf("%s.%06d", number(whole), rest)
	}
	return line
}

// samplePlot draws tenths of a unit over the time of a report, with the certified
// rating as the least height.
func samplePlot(title, unit string, samples []api.Reading, rated uint64, of func(api.Reading) uint64) chart {
	times, values := make([]int64, len(samples)), make([]uint64, len(samples))
	top := max(rated, 10)
	for i, m := range samples {
		times[i], values[i] = m.Start, of(m)
		top = max(top, values[i])
	}
	top = scale(top)
	c := chart{Title: title, Unit: unit, Y: []string{tenths(top), tenths(top / 2), "0"}}
	label := title + " in " + unit + "; the table below holds the figures"
	if len(samples) == 0 {
		c.SVG = template.HTML(svgOpen("area", label) + `</svg>`)
		return c
	}
	end := samples[len(samples)-1].End
	c.SVG = steps(label, times, values, end, top)
	c.X = []string{"0 s", durationText(end - times[0])}
	return c
}
