package web

import (
	"context"
	"net/http"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/torq"
)

const (
	overviewCertificates = 6
	overviewDividends    = 30
	overviewRefusals     = 4
)

type overviewData struct {
	O            api.Overview
	Certificates []api.CertificateSummary
	Latest       *api.CertificateSummary
	Rate         string // ore per second over the last minute, one decimal
	Ore          chart
	Points       []ratePoint
	Holdings     holdings
	Dividends    []api.Dividend
	DividendPlot chart
	Refusals     []api.Refusal
	Refused      uint64
	Supply       uint64  // in whole RT
	Estimate     torq.JT // of the next dividend, to each member
	Empty        bool    // nothing was ever dug
}

type ratePoint struct {
	Start int64
	Ore   uint64
	Rate  string
}

// holdings is where the supply lies, as bar and as table.
type holdings struct {
	Bar   any
	Lines []holdingLine
}

type holdingLine struct {
	Class string
	Tone  int
	JT    torq.JT
	Of    torq.JT
}

func (s *Site) overview(r *http.Request) (view, error) {
	ctx := r.Context()
	o, err := s.options.Overview(ctx)
	if err != nil {
		return view{}, err
	}
	d := overviewData{O: o, Holdings: holdingsOf(o.Vault.Holdings, o.Vault.Supply), Empty: o.Digger.Reports == 0 && o.Mint.LastSerial == 0}
	if err := s.overviewLists(ctx, &d); err != nil {
		return view{}, err
	}
	for _, rule := range o.Refusals {
		d.Refused += rule.Count
	}
	d.Supply = asUint(o.Vault.Supply) / max(o.OrePerIngot*o.IngotsPerCertificate, 1)
	d.Rate = tenth(o.Rates.MinuteOre / 6)
	d.Ore, d.Points = orePlot(o.Rates.Ore)
	if members := o.Wallets.Members; members > 0 && members >= o.Dividend.Required {
		d.Estimate = o.Dividend.Due / torq.JT(members)
	}
	return view{Template: "overview", Title: "The way of the ore", Section: "overview", Live: true, Data: d}, nil
}

func (s *Site) overviewLists(ctx context.Context, d *overviewData) error {
	certificates, err := s.options.Reader.Certificates(ctx, api.Page{Limit: overviewCertificates})
	if err != nil {
		return err
	}
	dividends, err := s.options.Reader.Dividends(ctx, api.Page{Limit: overviewDividends})
	if err != nil {
		return err
	}
	refusals, err := s.options.Reader.Refusals(ctx, api.Page{Limit: overviewRefusals})
	if err != nil {
		return err
	}
	d.Certificates, d.Dividends, d.Refusals = certificates.Items, dividends.Items, refusals.Items
	if len(d.Certificates) > 0 {
		d.Latest = &d.Certificates[0]
	}
	d.DividendPlot = dividendPlot(d.Dividends)
	return nil
}

// orePlot draws ore per second; a bucket of the feed is ten seconds long and
// the newest is not full yet, so it is left out.
func orePlot(points []api.OrePoint) (chart, []ratePoint) {
	if len(points) > 0 {
		points = points[:len(points)-1]
	}
	values := make([]uint64, len(points))
	table := make([]ratePoint, len(points))
	top := uint64(0)
	for i, p := range points {
		values[i], table[len(points)-1-i] = p.Ore, ratePoint{Start: p.Start, Ore: p.Ore, Rate: tenth(p.Ore)}
		top = max(top, p.Ore)
	}
	top = scale(max(top, 100))
	return chart{
		Title: "Ore per second, last ten minutes", Unit: "ore/s",
		SVG: area("Ore per second over the last ten minutes; the table below holds the figures", values, top),
		Y:   []string{tenths(top), tenths(top / 2), "0"},
		X:   []string{"10 min ago", "5 min ago", "now"},
	}, table
}

// tenths prints a count of tenths, without decimals where there are none.
func tenths(v uint64) string {
	if v%10 == 0 {
		return number(v / 10)
	}
	return tenth(v)
}

// dividendPlot draws dividends per member; the list is newest first.
func dividendPlot(list []api.Dividend) chart {
	values := make([]uint64, len(list))
	top := uint64(0)
	for i, d := range list {
		v := asUint(d.PerMember)
		values[len(list)-1-i] = v
		top = max(top, v)
	}
	top = scale(max(top, 1))
	return chart{
		Title: "Dividend to each member", Unit: "JT",
		SVG: columns("Dividends to each member, oldest first; the table below holds the figures", values, top),
		Y:   []string{number(top), number(top / 2), "0"},
	}
}

func holdingsOf(list []api.Holding, supply torq.JT) holdings {
	var h holdings
	var parts []part
	for i, holding := range list {
		if holding.JT == 0 {
			continue
		}
		tone := toneOf(holding.Class, i%11)
		h.Lines = append(h.Lines, holdingLine{Class: holding.Class, Tone: tone, JT: holding.JT, Of: supply})
		parts = append(parts, part{Value: asUint(holding.JT), Tone: tone})
	}
	h.Bar = divided("Where the supply lies; the table below holds the figures", parts)
	return h
}
