package web

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/torq"
)

// This file shows the reserve: where the money lies, how it came there, and what is
// to come.

type reserveData struct {
	R         api.Reserve
	Holdings  holdings
	Backed    bool // supply is what the certificates back
	Backing   torq.JT
	Unit      uint64 // ore in a certificate
	Stake     any    // gauge
	Over      overTime
	Releases  api.Releases
	Coming    chart
	Solvency  *api.Solvency
	Bonds     listing[api.Bond]
	Dividends listing[api.Dividend]
	Plot      chart
}

func (s *Site) reserve(r *http.Request) (view, error) {
	ctx := r.Context()
	reserve, err := s.options.Reader.Reserve(ctx)
	if err != nil {
		return view{}, err
	}
	o, err := s.options.Overview(ctx)
	if err != nil {
		return view{}, err
	}
	d := reserveData{
		R: reserve, Holdings: holdingsOf(reserve.Holdings, reserve.Supply), Unit: o.OrePerIngot * o.IngotsPerCertificate,
		Stake: gauge("Capital: "+share(reserve.Capital, reserve.StakeTarget)+" of the target", asUint(reserve.Capital), asUint(reserve.StakeTarget)),
	}
	d.Backing = torq.JT(reserve.Certificates * d.Unit)
	d.Backed = d.Backing == reserve.Supply
	if d.Over, err = s.overTime(ctx, r.URL.Query().Get("every")); err != nil {
		return view{}, err
	}
	if err := s.reserveLists(r, &d); err != nil {
		return view{}, err
	}
	return view{Template: "reserve", Title: "The reserve", Section: "reserve", Live: atStart(r), Data: d}, nil
}

// reserveLists adds what is to come, what was said of it, and what was paid.
func (s *Site) reserveLists(r *http.Request, d *reserveData) error {
	ctx := r.Context()
	dividends, err := s.options.Reader.Dividends(ctx, pageOf(r))
	if err != nil {
		return err
	}
	d.Dividends, d.Plot = listingOf(r, dividends, "#dividends"), dividendPlot(dividends.Items)
	if d.Releases, err = s.options.Reader.Releases(ctx); err != nil {
		return err
	}
	d.Coming = releasePlot(d.Releases)
	bonds, err := s.options.Reader.ReserveBonds(ctx, api.Page{Limit: bondsOnPage, Cursor: r.URL.Query().Get("bond")})
	if err != nil {
		return err
	}
	d.Bonds = listing[api.Bond]{Items: bonds.Items}
	if bonds.Next != "" {
		d.Bonds.Next = r.URL.Path + "?bond=" + bonds.Next + "#bonds"
	}
	if s.options.Solvent == nil {
		return nil
	}
	solvency, err := s.options.Solvent.Solvency(ctx)
	if api.CodeOf(err) == api.CodeNoStatement {
		return nil
	}
	d.Solvency = &solvency
	return err
}

const bondsOnPage = 10

// overTime is the books over time, drawn and as tables.
type overTime struct {
	Every  api.Period
	Choice []periodLink
	Points []api.HistoryPoint // oldest first
	Each   string             // length of a column
	Uses   chart
	Legend []use
	Stake  chart
	Target string // where the target lies
	Flow   chart
}

type periodLink struct {
	Every  api.Period
	Name   string
	Chosen bool
}

// use is one of the places where money lies.
type use struct {
	Class string
	Tone  int
	of    func(*api.HistoryPoint) torq.JT
}

// Of is what lay there at a point of time.
func (u use) Of(p api.HistoryPoint) torq.JT { return u.of(&p) }

// uses are the places, as they are stacked from the ground up. Tones are those of
// the bar of the present.
var uses = []use{
	{"wallets", 0, func(p *api.HistoryPoint) torq.JT { return p.Wallets }},
	{"savings", 1, func(p *api.HistoryPoint) torq.JT { return p.Savings }},
	{"bonds", 2, func(p *api.HistoryPoint) torq.JT { return p.Bonds }},
	{"stake.available", 3, func(p *api.HistoryPoint) torq.JT { return p.Available }},
	{"stake.deployed", 4, func(p *api.HistoryPoint) torq.JT { return p.Deployed }},
	{"stake.invested", 5, func(p *api.HistoryPoint) torq.JT { return p.Invested }},
	{"stake.returns", 6, func(p *api.HistoryPoint) torq.JT { return p.Returns }},
	{"deposit", 7, func(p *api.HistoryPoint) torq.JT { return p.Deposits }},
	{"disto", 8, func(p *api.HistoryPoint) torq.JT { return p.Disto }},
	{"demurrage", 9, func(p *api.HistoryPoint) torq.JT { return p.Demurrage }},
}

// tones gives each class of accounts the same colour wherever it is drawn.
func toneOf(class string, otherwise int) int {
	for _, u := range uses {
		if u.Class == class {
			return u.Tone
		}
	}
	return otherwise
}

// mostColumns is how many points of time a chart and its table have at most.
const mostColumns = 60

// periods are what may be chosen, with how many are kept.
var periods = []struct {
	every api.Period
	name  string
	ms    int64
	kept  int
}{
	{api.EveryMinute, "Three hours", 60_000, 180},
	{api.EveryHour, "Ten days", 3_600_000, 240},
	{api.EveryDay, "All", 86_400_000, 4000},
}

// overTime reads the history by the period that is asked for, or by the shortest one
// that holds all of it.
func (s *Site) overTime(ctx context.Context, asked string) (o overTime, err error) {
	for i, p := range periods {
		if asked != "" && asked != string(p.every) {
			continue
		}
		points, err := s.history(ctx, p.every, p.kept)
		if err != nil {
			return o, err
		}
		whole := len(points) == 0 || i == len(periods)-1 || (points[len(points)-1].Start-points[0].Start)/p.ms < int64(p.kept)-2
		if asked == "" && !whole {
			continue
		}
		o.Every = p.every
		o.Points, o.Each = gathered(points, p.ms)
		break
	}
	if o.Every == "" {
		return o, api.Errorf(api.CodeMalformed, "The reserve over time is shown by minute, hour or day, not by %q.", asked)
	}
	for _, p := range periods {
		o.Choice = append(o.Choice, periodLink{p.every, p.name, p.every == o.Every})
	}
	if len(o.Points) > 0 {
		o.draw()
	}
	return o, nil
}

// history reads all points of a period, oldest first.
func (s *Site) history(ctx context.Context, every api.Period, most int) (points []api.HistoryPoint, err error) {
	page := api.Page{Limit: api.MaxPage}
	for len(points) < most {
		list, err := s.options.Reader.History(ctx, every, page)
		if err != nil {
			return nil, err
		}
		points = append(points, list.Items...)
		if page.Cursor = list.Next; list.Next == "" {
			break
		}
	}
	slices.Reverse(points)
	return points, nil
}

// gathered puts periods together until there are few enough columns: of the books
// the last of each holds, of what was paid within them the sum.
func gathered(points []api.HistoryPoint, ms int64) (list []api.HistoryPoint, each string) {
	if len(points) == 0 {
		return nil, periodText(ms)
	}
	span := points[len(points)-1].Start - points[0].Start + ms
	width := (span/ms + mostColumns - 2) / (mostColumns - 1) * ms
	for _, p := range points {
		start := p.Start - p.Start%width
		if n := len(list); n > 0 && list[n-1].Start == start {
			before := list[n-1]
			p.Paid, p.Collected, p.Certificates, p.Orders = p.Paid+before.Paid, p.Collected+before.Collected, p.Certificates+before.Certificates, p.Orders+before.Orders
			list = list[:n-1]
		}
		p.Start = start
		list = append(list, p)
	}
	return list, periodText(width)
}

func (o *overTime) draw() {
	n := len(o.Points)
	times := make([]int64, n)
	var supply, capital, target uint64
	for i, p := range o.Points {
		times[i] = p.Start
		supply, capital, target = max(supply, asUint(p.Supply)), max(capital, asUint(p.Capital)), asUint(p.Target)
	}
	x := timeAxis(times)
	var layers []layer
	for _, u := range uses {
		l := layer{Tone: u.Tone, Values: make([]uint64, n)}
		var sum uint64
		for i := range o.Points {
			l.Values[i] = asUint(u.of(&o.Points[i]))
			sum += l.Values[i]
		}
		if sum > 0 {
			layers, o.Legend = append(layers, l), append(o.Legend, u)
		}
	}
	top := scaleRT(supply)
	o.Uses = chart{Title: "Supply and its uses over time", Unit: "RT", SVG: stacked("Where the supply lay over time, in RT; the table below holds the figures", times, layers, top), Y: rtAxis(top), X: x}
	top = scaleRT(capital)
	lines := []line{{Class: "line", Values: column(o.Points, func(p *api.HistoryPoint) torq.JT { return p.Capital })}}
	if target <= top {
		lines = append(lines, line{Class: "target", Values: column(o.Points, func(p *api.HistoryPoint) torq.JT { return p.Target })})
		o.Target = "dashed: the target"
	} else {
		o.Target = "the target, " + rtText(torq.JT(target)) + ", lies above the chart"
	}
	o.Stake = chart{Title: "Capital of the stake over time", Unit: "RT", SVG: stepLines("Capital of the stake over time, in RT; the table below holds the figures", times, lines, top), Y: rtAxis(top), X: x}
	paid, collected := column(o.Points, func(p *api.HistoryPoint) torq.JT { return p.Paid }), column(o.Points, func(p *api.HistoryPoint) torq.JT { return p.Collected })
	top = scaleRT(max(slices.Max(paid), slices.Max(collected)))
	o.Flow = chart{Title: "Dividends and demurrage", Unit: "RT", SVG: pairs("Dividends paid and demurrage collected in each period, in RT; the table below holds the figures", times, paid, collected, top), Y: rtAxis(top), X: x}
}

func column(points []api.HistoryPoint, of func(*api.HistoryPoint) torq.JT) []uint64 {
	values := make([]uint64, len(points))
	for i := range points {
		values[i] = asUint(of(&points[i]))
	}
	return values
}

// scaleRT is the smallest round amount that is at least top, in JT.
func scaleRT(top uint64) uint64 {
	for _, unit := range []uint64{torq.OrePerRT / 100_000, torq.OrePerRT / 1000, torq.OrePerRT} {
		if round := scale((max(top, 1)+unit-1)/unit) * unit; round/unit <= 1000 || unit == torq.OrePerRT {
			return round
		}
	}
	return top
}

// rtAxis labels an axis of amounts.
func rtAxis(top uint64) []string { return []string{rtShort(top), rtShort(top / 2), "0"} }

// rtShort is an amount in RT without the zeros behind it.
func rtShort(jt uint64) string {
	text := []byte(rtBare(torq.JT(jt)))
	for text[len(text)-1] == '0' {
		text = text[:len(text)-1]
	}
	if text[len(text)-1] == '.' {
		text = text[:len(text)-1]
	}
	return string(text)
}

// timeAxis labels the ends and the middle of an axis of time, in UTC.
func timeAxis(times []int64) []string {
	first, last := times[0], times[len(times)-1]
	form := "2 Jan 2006"
	switch span := last - first; {
	case span < 86_400_000:
		form = "15:04"
	case span < 20*86_400_000:
		form = "2 Jan, 15:04"
	}
	at := func(ms int64) string { return time.UnixMilli(ms).UTC().Format(form) }
	if len(times) < 3 {
		return []string{at(first), at(last)}
	}
	return []string{at(first), at(first + (last-first)/2), at(last)}
}

// periodText is a length of time as one says it after "each": "minute", "3 minutes".
func periodText(ms int64) string {
	for _, unit := range []struct {
		ms   int64
		name string
	}{{86_400_000, "day"}, {3_600_000, "hour"}, {60_000, "minute"}, {1000, "second"}} {
		switch n := ms / unit.ms; {
		case n == 0 || ms%unit.ms != 0:
		case n == 1:
			return unit.name
		default:
			return number(n) + " " + unit.name + "s"
		}
	}
	return durationText(ms)
}

// releasePlot draws what is to fall due.
func releasePlot(r api.Releases) chart {
	values := make([]uint64, len(r.Points))
	top := uint64(1)
	for i, p := range r.Points {
		values[i] = asUint(p.JT)
		top = max(top, values[i])
	}
	top = scaleRT(top)
	c := chart{
		Title: "Releases to come", Unit: "RT",
		SVG: columns("What falls due in each period to come, in RT; the table below holds the figures", values, top), Y: rtAxis(top),
	}
	if n := len(r.Points); n > 0 {
		c.X = timeAxis([]int64{r.Points[0].Start, r.Points[n-1].End})
		c.Unit = fmt.Sprintf("RT in each %s", periodText(r.Points[0].End-r.Points[0].Start))
	}
	return c
}
