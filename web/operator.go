package web

import (
	"fmt"
	"net/http"

	"robotorq.org/reserve/api"
)

// operatorRoutes are the pages of who operates the node.
func (s *Site) operatorRoutes() {
	if s.options.Node != nil {
		s.mux.HandleFunc("GET /operator", s.only(api.RoleAdmin, s.operator))
	}
}

// operatorData is the operator's page: the figures, and those of them that a template
// cannot write by itself.
type operatorData struct {
	O         api.Operator
	Faults    int
	Uptime    string
	Ending    []keyLine
	Open      []keyLine
	Disk      diskLines
	Latencies []latencyLine
	Links     []linkLine
	Tokens    []api.OperatorToken
	Hidden    int    // tokens that are not shown
	Backup    string // age of the newest
	Backed    bool   // supply is what certificates back
	Statement string // age of the newest
}

// shownTokens is how many tokens the page lists; valid ones come first.
const shownTokens = 40

type keyLine struct {
	api.OperatorKey
	Left string
}

type diskLines struct {
	Free, Size, Used, Growth, Over string
	Gauge                          any
	Parts                          []diskPart
}

type diskPart struct{ Name, Says, Bytes string }

type latencyLine struct {
	api.Latency
	Says, Mean, Median, P99 string
}

// linkLine is one link, with its outbox in the first of each.
type linkLine struct {
	Outbox api.Outbox
	First  int // rows that the outbox's cells span; 0 in the others
	api.Link
}

func (s *Site) operator(r *http.Request, _ session) (view, error) {
	o, err := s.options.Node.Operator(r.Context())
	if err != nil {
		return view{}, err
	}
	d := operatorData{
		O: o, Uptime: durationText(o.Now - o.Started), Disk: diskOf(o.Disk), Backed: o.Solvency.Supply == o.Solvency.Backed, Statement: durationText(o.Now - o.Solvency.Issued),
	}
	for _, f := range o.Findings {
		if f.Level == api.LevelFault {
			d.Faults++
		}
	}
	for _, k := range o.Keys {
		line := keyLine{OperatorKey: k}
		switch {
		case k.Ends != 0 && k.Left <= 0:
			line.Left = "ended"
		case k.Ends != 0:
			line.Left = "in " + durationText(k.Left)
		}
		if k.Ends == 0 {
			d.Open = append(d.Open, line)
		} else {
			d.Ending = append(d.Ending, line)
		}
	}
	for _, l := range o.Latencies {
		d.Latencies = append(d.Latencies, latencyLine{l, latencyText(l.What, l.Where), microsText(int64(l.Mean)), microsText(l.Median), microsText(l.P99)})
	}
	for _, box := range o.Outboxes {
		for i, l := range box.Links {
			line := linkLine{Outbox: box, Link: l}
			if i == 0 {
				line.First = len(box.Links)
			}
			d.Links = append(d.Links, line)
		}
	}
	d.Tokens = o.Tokens[:min(len(o.Tokens), shownTokens)]
	d.Hidden = len(o.Tokens) - len(d.Tokens)
	if len(o.Backups) > 0 {
		d.Backup = durationText(o.Now - o.Backups[0].Taken)
	}
	return view{Template: "operator", Title: "The node", Section: "operator", Live: true, Data: d}, nil
}

// whatPart says in words what a part of the data directory holds.
var whatPart = map[string]string{
	"log": "The proof log", "packs": "Artefacts: reports, batches, pours, certificates", "books": "The stations’ databases",
	"bus": "Messages under way; may be deleted while the node is stopped", "other": "Keys, robots of this machine, the rest",
}

func diskOf(d api.Disk) diskLines {
	taken := d.Size - min(d.Size, d.Free)
	lines := diskLines{
		Free: bytesText(d.Free), Size: bytesText(d.Size), Used: bytesText(d.Used), Gauge: gauge("Taken: "+share(taken, d.Size)+" of the disk", taken, d.Size),
	}
	for _, p := range d.Parts {
		lines.Parts = append(lines.Parts, diskPart{p.Name, whatPart[p.Name], bytesText(p.Bytes)})
	}
	if d.Over > 0 {
		lines.Over = durationText(d.Over)
		lines.Growth = bytesText(uint64(max(d.Growth, -d.Growth)))
		if d.Growth < 0 {
			lines.Growth = "−" + lines.Growth
		}
	}
	return lines
}

// bytesText is a number of bytes for people, in binary units.
func bytesText(n uint64) string {
	const unit = 1024
	if n < unit {
		return number(n) + " B"
	}
	names := [...]string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	i := 0
	for n >= unit*unit && i < len(names)-1 {
		n /= unit
		i++
	}
	return tenth(n*10/unit) + " " + names[i]
}

func latencyText(what, where string) string {
	switch what {
	case "commit":
		return "commit of the books of " + where
	case "verify":
		return "check by " + where
	}
	if where == "api-waiting" {
		return "answer for which a robot asked to wait"
	}
	return "answer of the interface, " + where
}

// microsText is a time from microseconds; -1 is longer than was measured.
func microsText(us int64) string {
	switch {
	case us < 0:
		return "over the scale"
	case us < 1000:
		return fmt.Sprintf("%d µs", us)
	case us < 1_000_000:
		return tenth(uint64(us/100)) + " ms"
	}
	return tenth(uint64(us/100_000)) + " s"
}
