package bondprint

import (
	"image"
	"image/color"
	"math"
)

// Colours of the picture, and how it is drawn.
var (
	groundColour = color.NRGBA{0xd8, 0xb4, 0x62, 0xff} // brass
	reliefColour = color.NRGBA{0x2d, 0x45, 0x2a, 0xff} // reseda
)

const (
	pictureGrain  = 2 // points drawn for each of the picture, both ways
	pictureMargin = 2000
)

// Picture is the plate from above, width points wide, on nothing: what the printer makes,
// for looking at. Its middle part shows the secret, as the files do.
func (c *Coin) Picture(width int) image.Image {
	plate := c.Plate()
	var right, top int32
	for _, m := range plate {
		_, high := m.Bounds()
		right, top = max(right, high.X), max(top, high.Y)
	}
	scale := float64(width*pictureGrain) / float64(right+2*pictureMargin)
	height := int(float64(top+2*pictureMargin) * scale / pictureGrain)
	r := raster{scale: scale, top: float64(top + pictureMargin), picture: image.NewNRGBA(image.Rect(0, 0, width*pictureGrain, height*pictureGrain))}
	r.depth = make([]float32, r.picture.Rect.Dx()*r.picture.Rect.Dy())
	for _, m := range plate {
		for _, t := range m.Triangles {
			r.fill(m.Vertices[t.Corners[0]], m.Vertices[t.Corners[1]], m.Vertices[t.Corners[2]], t.Relief)
		}
	}
	return r.shrunk(width, height)
}

// raster is a picture with the height of what is seen at each point.
type raster struct {
	scale, top float64
	picture    *image.NRGBA
	depth      []float32
}

// fill draws a triangle that is seen from above, where nothing higher is.
func (r *raster) fill(a, b, c Vertex, relief bool) {
	ux, uy, uz := float64(b.X-a.X), float64(b.Y-a.Y), float64(b.Z-a.Z)
	vx, vy, vz := float64(c.X-a.X), float64(c.Y-a.Y), float64(c.Z-a.Z)
	nx, ny, nz := uy*vz-uz*vy, uz*vx-ux*vz, ux*vy-uy*vx
	if nz <= 0 {
		return // from below, or from the side
	}
	paint := shade(relief, nx, ny, nz)
	at := func(v Vertex) (x, y float64) {
		return (float64(v.X) + pictureMargin) * r.scale, (r.top - float64(v.Y)) * r.scale
	}
	ax, ay := at(a)
	bx, by := at(b)
	cx, cy := at(c)
	size := r.picture.Rect.Size()
	area := (bx-ax)*(cy-ay) - (cx-ax)*(by-ay)
	for y := max(0, int(min(ay, by, cy))); y <= min(size.Y-1, int(max(ay, by, cy))); y++ {
		for x := max(0, int(min(ax, bx, cx))); x <= min(size.X-1, int(max(ax, bx, cx))); x++ {
			px, py := float64(x)+0.5, float64(y)+0.5
			s := ((px-ax)*(cy-ay) - (cx-ax)*(py-ay)) / area // of b
			t := ((bx-ax)*(py-ay) - (px-ax)*(by-ay)) / area // of c
			if s < 0 || t < 0 || s+t > 1 {
				continue
			}
			z := float32(float64(a.Z)+s*uz+t*vz) + 1
			if i := y*size.X + x; z >= r.depth[i] {
				r.depth[i] = z
				r.picture.SetNRGBA(x, y, paint)
			}
		}
	}
}

// shade is a colour under a light from above, a little from the left.
func shade(relief bool, nx, ny, nz float64) color.NRGBA {
	paint := groundColour
	if relief {
		paint = reliefColour
	}
	light := (-0.35*nx + 0.45*ny + 0.82*nz) / math.Sqrt(nx*nx+ny*ny+nz*nz)
	light = 0.45 + 0.6*max(0, light)
	lit := func(v uint8) uint8 { return uint8(min(255, float64(v)*light)) }
	return color.NRGBA{lit(paint.R), lit(paint.G), lit(paint.B), 0xff}
}

// shrunk is the picture with the mean of its points.
func (r *raster) shrunk(width, height int) image.Image {
	out := image.NewNRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			var sum [4]int
			for dy := range pictureGrain {
				for dx := range pictureGrain {
					p := r.picture.NRGBAAt(x*pictureGrain+dx, y*pictureGrain+dy)
					sum[0] += int(p.R) * int(p.A)
					sum[1] += int(p.G) * int(p.A)
					sum[2] += int(p.B) * int(p.A)
					sum[3] += int(p.A)
				}
			}
			if sum[3] == 0 {
				continue
			}
			out.SetNRGBA(x, y, color.NRGBA{uint8(sum[0] / sum[3]), uint8(sum[1] / sum[3]), uint8(sum[2] / sum[3]), uint8(sum[3] / (pictureGrain * pictureGrain))})
		}
	}
	return out
}
