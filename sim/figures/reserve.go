package figures

import (
	"fmt"
	"html/template"
	"io"
	"os"
	"path/filepath"

	"robotorq.org/reserve/sim/recording"
	"robotorq.org/reserve/sim/reserve"
	"robotorq.org/reserve/torq"
)

// gatherReserve are the columns of a run on the reserve's code.
func gatherReserve(rows []reserve.Row) data {
	d := data{at: map[string][]float64{}}
	group := max(1, (len(rows)+most-1)/most)
	for from := 0; from < len(rows); from += group {
		to := min(from+group, len(rows))
		d.steps = append(d.steps, float64(rows[to-1].Day))
		for _, c := range reserve.Columns() {
			sum := 0.0
			for i := from; i < to; i++ {
				sum += c.Of(&rows[i])
			}
			d.at[c.Name] = append(d.at[c.Name], sum/float64(to-from))
		}
	}
	return d
}

// reservePictures are the plots of a run on the reserve's code, in the order of its report.
func reservePictures(r *reserve.Result) []picture {
	d := gatherReserve(r.Rows)
	const toRT = 1.0 / torq.OrePerRT
	return []picture{
		{"supply", "Supply and its uses", "Where all money is at the end of each day. Its sum is the supply, and the supply is the certificates.",
			stacked(d, "RT", toRT, []named{{"wallets", "wallets"}, {"savings", "savings"}, {"bonds", "bonds"}, {"stake_available", "StakeVault"},
				{"stake_deployed", "at work"}, {"stake_invested", "invested"}, {"stake_returns", "returns"}, {"deposits", "deposits"}, {"disto", "disto"}})},
		{"stake", "Stake", "What the StakeVault has, at hand and at work: it never falls but for recalls.",
			lines(d, "RT", toRT, []named{{"capital", "capital"}, {"stake_available", "at hand"}, {"stake_deployed", "at work"}, {"stake_invested", "investors'"}})},
		{"dividend", "Dividend", "What each member received in each day.", lines(d, "RT a day", toRT, []named{{"dividend", "a member"}})},
		{"demurrage", "Demurrage", "What all wallets lost to demurrage in each day, and what of it became savers' yield.",
			lines(d, "RT a day", toRT, []named{{"flow_demurrage", "demurrage"}, {"flow_yield", "yield"}})},
		{"velocity", "Velocity", "What was spent, given and paid in a year over what is in the wallets.", lines(d, "a year", 1, []named{{"velocity", "velocity"}})},
		{"gini", "Inequality", "Gini coefficient of the members' wallets and savings.", lines(d, "Gini coefficient", 1, []named{{"gini", "Gini"}})},
		{"lorenz", "Lorenz curve", "Share of everything that the poorest part of the members has, at the end.", lorenz(r.Holdings)},
	}
}

// WriteReserve draws a run on the reserve's code into its directory: plots/*.svg,
// plots/*.png and report.html.
func WriteReserve(dir string, r *reserve.Result) error {
	if err := os.MkdirAll(filepath.Join(dir, Directory), 0o755); err != nil {
		return err
	}
	list, err := drawAll(dir, reservePictures(r))
	if err != nil {
		return err
	}
	page, err := template.ParseFS(pages, "reserve.html")
	if err != nil {
		return err
	}
	d := r.Document
	type pair struct{ Name, Value string }
	var changed []pair
	defaults := reserve.Defaults()
	for _, q := range defaults.List() {
		if v := d.Parameters[q.Name]; v != q.Value {
			changed = append(changed, pair{q.Name, v})
		}
	}
	total := func(name string) string { return fmt.Sprintf("%.0f", d.Figures["total_"+name]) }
	return recording.WriteFile(filepath.Join(dir, recording.ReportFile), func(to io.Writer) error {
		return page.Execute(to, map[string]any{
			"Run": d, "Pictures": list, "Changed": changed, "Supply": torq.JT(int64(d.Figures["supply"])).RTGrouped(),
			"Dividends": torq.JT(int64(d.Figures["total_flow_dividend"])).RTGrouped(),
			"Funded":    total("funded"), "Completed": total("completed"), "Gini": fmt.Sprintf("%.4f", d.Figures["gini"]),
		})
	})
}
