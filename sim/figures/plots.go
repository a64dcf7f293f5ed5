package figures

import (
	"fmt"
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"robotorq.org/reserve/sim/model"
	"robotorq.org/reserve/sim/recording"
	"robotorq.org/reserve/sim/scenario"
	"robotorq.org/reserve/sim/series"
)

// colours are those of Okabe and Ito, which the colour-blind tell apart.
func colours() []color.RGBA {
	return []color.RGBA{{0, 114, 178, 255}, {230, 159, 0, 255}, {0, 158, 115, 255}, {204, 121, 167, 255}, {86, 180, 233, 255},
		{213, 94, 0, 255}, {240, 228, 66, 255}, {120, 130, 140, 255}, {60, 60, 60, 255}}
}

func standard() map[string]string {
	p := model.Defaults()
	return scenario.Effective(&p)
}

// most points of a line: more are not seen.
const most = 700

// data are the columns of a run, by step, thinned to what can be seen.
type data struct {
	steps []float64
	at    map[string][]float64
}

func gather(rows []series.Row) data {
	d := data{at: map[string][]float64{}}
	group := max(1, (len(rows)+most-1)/most)
	for from := 0; from < len(rows); from += group {
		to := min(from+group, len(rows))
		d.steps = append(d.steps, float64(rows[to-1].Step))
		for _, c := range series.Columns() {
			sum := 0.0
			for i := from; i < to; i++ {
				sum += c.Of(&rows[i])
			}
			d.at[c.Name] = append(d.at[c.Name], sum/float64(to-from))
		}
	}
	return d
}

func (d data) line(name string, scale float64) plotter.XYs {
	list := make(plotter.XYs, len(d.steps))
	for i, s := range d.steps {
		list[i] = plotter.XY{X: s, Y: d.at[name][i] * scale}
	}
	return list
}

// pictures are the plots of a run, in the order of the report.
func pictures(r recording.Result, w *model.World) []picture {
	d := gather(r.Rows)
	toRT := 1 / float64(w.P.JTPerRT())
	list := []picture{
		{"supply", "Supply and its uses", "Where all money is at the end of each step. Its sum is the supply.",
			stacked(d, "RT", toRT, []named{{"bondholders", "bondholders"}, {"stashes", "stashes"}, {"enterprise", "Enterprises"}, {"brla", "BRLAs"},
				{"stake_vault", "StakeVault"}, {"stash_vaults", "StashVaults"}, {"disto_buffer", "disto buffer"}, {"robofund", "RoboFund"}, {"calvin", "Calvin"}})},
		{"wallets", "Bondholders' wallets", "What the bondholders hold, and what demurrage has taken: hidden in the picture above by the Enterprises' seed money.",
			lines(d, "RT", toRT, []named{{"bondholders", "bondholders"}, {"stash_vaults", "StashVaults"}, {"disto_buffer", "disto buffer"}})},
		{"dividend", "Dividend", "What each bondholder received in each step.", lines(d, "RT a step", toRT, []named{{"dividend", "a bondholder"}})},
		{"demurrage", "Demurrage", "What all bondholders' wallets lost to demurrage in each step.", lines(d, "RT a step", toRT, []named{{"flow_demurrage", "all bondholders"}})},
		{"velocity", "Velocity", "Sales and contracts' pay in a year over what the bondholders hold.", lines(d, "a year", 1, []named{{"velocity", "velocity"}})},
		{"gini", "Inequality", "Gini coefficient of what the bondholders have.", lines(d, "Gini coefficient", 1, []named{{"gini", "Gini"}})},
		{"lorenz", "Lorenz curve", "Share of everything that the poorest part of the bondholders has, at the end.", lorenz(r.Wallets)},
		{"utilisation", "What the fleet does", "Shares of the robot-ticks of each step; robots that are down are left out.",
			stacked(d, "share", 1, []named{{"utilisation", "training or producing"}, {"starved", "starved"}, {"queued", "queued"}, {"waiting_step", "waiting for the step"}, {"idle", "idle"}})},
		{"queue", "Giskard's queue", "Robots that wait for tokens, and those that draw, at the end of each step.",
			lines(d, "robots", 1, []named{{"queue", "queued"}, {"drains", "training"}, {"fountains", "producing"}})},
		{"tokens", "Tokens", "What Giskard could give, had allocated and gave.", tokens(d, w)},
		{"torq", "Torq curves", "Torq of one contract by tick of production, at full and at half feed, for the simple and the complex task.", torqCurves(w)},
		{"flows", "Transaction flows", sankeyNote(r.Document.Matrix), sankey(r.Document.Matrix, w.P.JTPerRT())},
	}
	return list
}

type named struct{ column, label string }

// frame is an empty plot in the report's style.
func frame(y string) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = color.White
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Label.TextStyle.Font.Variant = "Sans"
		a.Tick.Label.Font.Variant = "Sans"
		a.Label.TextStyle.Font.Size, a.Tick.Label.Font.Size = 10, 9
		a.LineStyle.Color = color.Gray{140}
		a.Tick.LineStyle.Color = color.Gray{140}
		a.Padding = 0
	}
	p.X.Label.Text, p.Y.Label.Text = "step", y
	p.X.Tick.Marker, p.Y.Tick.Marker = round{}, round{}
	p.Legend.TextStyle.Font.Variant = "Sans"
	p.Legend.TextStyle.Font.Size = 9
	p.Legend.Padding = 2 * vg.Millimeter / 2
	p.Legend.ThumbnailWidth = 14
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = color.Gray{232}, color.Gray{242}
	p.Add(grid)
	return p
}

// round are ticks at round numbers with short labels: 12k, 3.5M.
type round struct{}

// Ticks implements the axis marker.
func (round) Ticks(least, greatest float64) (list []plot.Tick) {
	const wanted = 6
	step := math.Pow(10, math.Floor(math.Log10((greatest-least)/wanted)))
	for _, factor := range []float64{2, 2.5, 2} { // 1, 2, 5, 10
		if (greatest-least)/step > wanted {
			step *= factor
		}
	}
	for k := math.Ceil(least/step - 1e-9); k*step <= greatest*(1+1e-9); k++ {
		list = append(list, plot.Tick{Value: k * step, Label: short(k * step)})
	}
	return list
}

func short(v float64) string {
	if v == 0 {
		return "0" // not −0
	}
	for _, u := range []struct {
		size float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if math.Abs(v) >= u.size {
			return fmt.Sprintf("%.4g%s", v/u.size, u.name)
		}
	}
	return fmt.Sprintf("%.4g", v)
}

// show draws a plot with room for the legend at the right.
func show(p *plot.Plot, c draw.Canvas) {
	p.Legend.Top, p.Legend.Left = true, false
	legend := p.Legend
	p.Legend = plot.NewLegend()
	const room = 1.75 * vg.Inch
	p.Draw(draw.Crop(c, 8, -room, 6, -8))
	legend.XOffs, legend.YOffs = 0, 0
	legend.Left = true
	legend.Draw(draw.Crop(c, width-room+8, 0, 0, -10))
}

// nonzero keeps the columns that are ever more than nothing.
func nonzero(d data, columns []named) (list []named) {
	for _, n := range columns {
		if slices.ContainsFunc(d.at[n.column], func(v float64) bool { return v != 0 }) {
			list = append(list, n)
		}
	}
	return list
}

// room makes the vertical axis begin at nothing and leave some air.
func room(p *plot.Plot) {
	p.Y.Min = min(p.Y.Min, 0)
	if p.Y.Max <= p.Y.Min {
		p.Y.Max = p.Y.Min + 1
	}
	p.Y.Max += (p.Y.Max - p.Y.Min) * 0.04
	if p.X.Max <= p.X.Min {
		p.X.Max = p.X.Min + 1
	}
}

func lines(d data, unit string, scale float64, columns []named) func(draw.Canvas) error {
	return func(c draw.Canvas) error {
		p := frame(unit)
		palette := colours()
		for i, n := range columns {
			l, err := plotter.NewLine(d.line(n.column, scale))
			if err != nil {
				return err
			}
			l.Color, l.Width = palette[i], vg.Points(1.4)
			p.Add(l)
			p.Legend.Add(n.label, l)
		}
		room(p)
		show(p, c)
		return nil
	}
}

// stacked draws areas on top of each other.
func stacked(d data, unit string, scale float64, columns []named) func(draw.Canvas) error {
	return func(c draw.Canvas) error {
		p := frame(unit)
		palette := colours()
		base := make([]float64, len(d.steps))
		kept := nonzero(d, columns)
		thumbs := make([]plot.Thumbnailer, len(kept))
		for i, n := range kept {
			var outline plotter.XYs
			for k, s := range d.steps {
				outline = append(outline, plotter.XY{X: s, Y: base[k]})
			}
			for k := len(d.steps) - 1; k >= 0; k-- {
				base[k] += d.at[n.column][k] * scale
				outline = append(outline, plotter.XY{X: d.steps[k], Y: base[k]})
			}
			area, err := plotter.NewPolygon(outline)
			if err != nil {
				return err
			}
			area.Color = palette[i%len(palette)]
			area.LineStyle.Width = 0
			p.Add(area)
			thumbs[i] = area
		}
		for i := len(kept) - 1; i >= 0; i-- {
			p.Legend.Add(kept[i].label, thumbs[i])
		}
		room(p)
		show(p, c)
		return nil
	}
}

func lorenz(wallets []int64) func(draw.Canvas) error {
	return func(c draw.Canvas) error {
		p := frame("share of what there is")
		p.X.Label.Text = "share of the bondholders, poorest first"
		const parts = 100
		curve, equal := make(plotter.XYs, 0, parts+1), plotter.XYs{{X: 0, Y: 0}, {X: 1, Y: 1}}
		for k, v := range series.Lorenz(wallets, parts) {
			curve = append(curve, plotter.XY{X: float64(k) / parts, Y: v})
		}
		for i, l := range []struct {
			at    plotter.XYs
			label string
		}{{equal, "all equal"}, {curve, fmt.Sprintf("this run, Gini %.3f", series.Gini(wallets))}} {
			line, err := plotter.NewLine(l.at)
			if err != nil {
				return err
			}
			line.Color, line.Width = color.Gray{150}, vg.Points(1)
			if i == 1 {
				line.Color, line.Width = colours()[0], vg.Points(1.8)
			}
			p.Add(line)
			p.Legend.Add(l.label, line)
		}
		room(p)
		p.Y.Max = 1
		show(p, c)
		return nil
	}
}

// tokens leaves out a capacity that was only said to be ample.
func tokens(d data, w *model.World) func(draw.Canvas) error {
	columns := []named{{"allocated", "allocated, a tick"}, {"tick_rate", "tick rate"}}
	if w.Given().Capacity != model.NotGiven {
		columns = append([]named{{"capacity", "capacity, a tick"}}, columns...)
	}
	return lines(d, "tokens a tick", 1, columns)
}

func torqCurves(w *model.World) func(draw.Canvas) error {
	return func(c draw.Canvas) error {
		p := frame("Torq")
		p.X.Label.Text = "tick of production"
		for i, complex := range []bool{false, true} {
			for k, feed := range []float64{1, 0.5} {
				var at plotter.XYs
				for j, torq := range w.TorqCurve(complex, feed) {
					at = append(at, plotter.XY{X: float64(j), Y: torq})
				}
				l, err := plotter.NewLine(at)
				if err != nil {
					return err
				}
				l.Color, l.Width = colours()[[]int{0, 5}[i]], vg.Points(1.6)
				if k == 1 {
					l.Dashes = []vg.Length{vg.Points(4), vg.Points(3)}
				}
				p.Add(l)
				p.Legend.Add(fmt.Sprintf("complexity %g, %s", w.ComplexityOf(complex), []string{"full feed", "half feed"}[k]), l)
			}
		}
		room(p)
		show(p, c)
		return nil
	}
}
