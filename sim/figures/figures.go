// Package figures draws a run: report.html and its plots as SVG and PNG.
//
// It draws what a finished run hands over and decides nothing. The same run gives the
// same pictures. It writes files into the run's directory only; a report that was cut
// off is written again by the next run. It implements the report of the simulator's
// specification, section 16.
package figures

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"

	"robotorq.org/reserve/sim/model"
	"robotorq.org/reserve/sim/recording"
)

//go:embed report.html reserve.html
var pages embed.FS

// Directory of the plots inside a run's directory.
const Directory = "plots"

// picture is one plot of the report.
type picture struct {
	name, title, note string
	draw              func(draw.Canvas) error
}

const (
	width  = 8 * vg.Inch
	height = 3.6 * vg.Inch
	dpi    = 144
)

// Write draws a run into its directory: plots/*.svg, plots/*.png and report.html.
func Write(dir string, r recording.Result, w *model.World) error {
	if err := os.MkdirAll(filepath.Join(dir, Directory), 0o755); err != nil {
		return err
	}
	list, err := drawAll(dir, pictures(r, w))
	if err != nil {
		return err
	}
	page, err := template.ParseFS(pages, "report.html")
	if err != nil {
		return err
	}
	d := r.Document
	type pair struct{ Name, Value string }
	var changed []pair
	defaults := standard()
	for _, name := range slices.Sorted(maps.Keys(d.Parameters)) {
		if v := d.Parameters[name]; v != defaults[name] {
			changed = append(changed, pair{name, v})
		}
	}
	type flow struct {
		recording.MatrixRow
		RT string
	}
	var flows []flow
	for _, m := range d.Matrix {
		flows = append(flows, flow{m, rt(m.Amount, w.P.JTPerRT())})
	}
	return recording.WriteFile(filepath.Join(dir, recording.ReportFile), func(to io.Writer) error {
		return page.Execute(to, map[string]any{
			"Run": d, "Pictures": list, "Changed": changed, "Flows": flows,
			"Supply": rt(w.Supply(), w.P.JTPerRT()), "Utilisation": fmt.Sprintf("%.1f %%", 100*d.Figures["mean_utilisation"]),
			"Contracts": grouped(fmt.Sprintf("%.0f", d.Figures["contracts"])), "Gini": fmt.Sprintf("%.4f", d.Figures["gini"]),
		})
	})
}

// shown is a plot as the report holds it.
type shown struct {
	Name, Title, Note string
	SVG               template.HTML
}

// drawAll writes the plots of a run.
func drawAll(dir string, all []picture) (list []shown, err error) {
	for _, p := range all {
		svg := vgsvg.NewWith(vgsvg.UseWH(width, height), vgsvg.EmbedFonts(false))
		if err := p.draw(draw.New(svg)); err != nil {
			return nil, fmt.Errorf("plot %s: %w", p.name, err)
		}
		image := vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(dpi))
		if err := p.draw(draw.New(image)); err != nil {
			return nil, fmt.Errorf("plot %s: %w", p.name, err)
		}
		var b bytes.Buffer
		if _, err := svg.WriteTo(&b); err != nil {
			return nil, err
		}
		err := errors.Join(
			recording.WriteFile(filepath.Join(dir, Directory, p.name+".svg"), func(to io.Writer) error { _, err := to.Write(b.Bytes()); return err }),
			recording.WriteFile(filepath.Join(dir, Directory, p.name+".png"), func(to io.Writer) error {
				_, err := vgimg.PngCanvas{Canvas: image}.WriteTo(to)
				return err
			}))
		if err != nil {
			return nil, err
		}
		list = append(list, shown{p.name, p.title, p.note, inline(b.String())})
	}
	return list, nil
}

// inline strips what only a file of its own needs.
func inline(svg string) template.HTML {
	if i := strings.Index(svg, "<svg"); i >= 0 {
		svg = svg[i:]
	}
	return template.HTML(svg) // drawn by this package from numbers and its own words
}

// rt prints an amount of JT in RT.
func rt(jt, per int64) string {
	v := float64(jt) / float64(per)
	text := fmt.Sprintf("%.5f", v)
	whole, fraction, _ := strings.Cut(text, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "−", whole[1:]
	}
	return sign + grouped(whole) + "." + fraction + " RT"
}

// grouped parts the digits of a whole number by thousands.
func grouped(whole string) string {
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	return whole
}
