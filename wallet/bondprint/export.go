package bondprint

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/xml"
	"fmt"
	"math"
	"strconv"
)

// Plate is the parts beside each other on z = 0, as they are printed.
func (c *Coin) Plate() []*Mesh {
	var out []*Mesh
	at := int32(0)
	for _, m := range c.Parts() {
		low, high := m.Bounds()
		out = append(out, m.Moved(at-low.X, -low.Y, -low.Z))
		at += high.X - low.X + plateGap
	}
	return out
}

// STL is the plate as one binary STL file, in millimetres.
func (c *Coin) STL() []byte { return encodeSTL(c.title, c.Plate()...) }

// STL is the part as a binary STL file, in millimetres.
func (m *Mesh) STL() []byte { return encodeSTL(m.Name, m) }

func encodeSTL(title string, meshes ...*Mesh) []byte {
	count := 0
	for _, m := range meshes {
		count += len(m.Triangles)
	}
	out := make([]byte, 80, 84+50*count)
	copy(out, title) // "solid" at the beginning would make it an ASCII file
	out = binary.LittleEndian.AppendUint32(out, uint32(count))
	for _, m := range meshes {
		for _, t := range m.Triangles {
			out = m.appendSTL(out, t)
		}
	}
	return out
}

func (m *Mesh) appendSTL(out []byte, t Triangle) []byte {
	n := m.normal(t)
	x, y, z := float64(n[0]), float64(n[1]), float64(n[2])
	length := math.Sqrt(x*x + y*y + z*z)
	for _, v := range []float64{x / length, y / length, z / length} {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(float32(v)))
	}
	for _, c := range t.Corners {
		v := m.Vertices[c]
		for _, u := range []int32{v.X, v.Y, v.Z} {
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(float32(float64(u)/1000)))
		}
	}
	return append(out, 0, 0)
}

// Colours of the coin, as on the reserve's pages.
const (
	colourBrass  = "#B48A30"
	colourReseda = "#3F5F3B"
	colourInk    = "#18201C"
)

// ThreeMF is the plate as a 3MF file: three objects in two colours each.
func (c *Coin) ThreeMF() ([]byte, error) {
	const (
		types = `<?xml version="1.0" encoding="UTF-8"?>
<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="model" ContentType="application/vnd.ms-package.3dmanufacturing-3dmodel+xml"/></Types>
`
		relations = `<?xml version="1.0" encoding="UTF-8"?>
<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Target="/3D/3dmodel.model" Id="rel0" Type="http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"/></Relationships>
`
	)
	var out bytes.Buffer
	archive := zip.NewWriter(&out)
	for _, file := range []struct {
		name string
		data []byte
	}{{"[Content_Types].xml", []byte(types)}, {"_rels/.rels", []byte(relations)}, {"3D/3dmodel.model", c.model()}} {
		// Without a time the same coin gives the same bytes.
		w, err := archive.CreateHeader(&zip.FileHeader{Name: file.name, Method: zip.Deflate})
		if err != nil {
			return nil, wrapf(CodeMesh, err, "write 3MF")
		}
		if _, err := w.Write(file.data); err != nil {
			return nil, wrapf(CodeMesh, err, "write 3MF")
		}
	}
	if err := archive.Close(); err != nil {
		return nil, wrapf(CodeMesh, err, "write 3MF")
	}
	return out.Bytes(), nil
}

func (c *Coin) model() []byte {
	var out bytes.Buffer
	out.WriteString(`<?xml version="1.0" encoding="UTF-8"?>
<model unit="millimeter" xml:lang="en" xmlns="http://schemas.microsoft.com/3dmanufacturing/core/2015/02">
<metadata name="Title">`)
	_ = xml.EscapeText(&out, []byte(c.title)) // a buffer's Write never fails
	out.WriteString(`</metadata>
<metadata name="Application">robotorq bond print</metadata>
<resources>
<basematerials id="1">`)
	fmt.Fprintf(&out, `<base name="brass" displaycolor="%s"/><base name="reseda" displaycolor="%s"/><base name="ink" displaycolor="%s"/></basematerials>`, colourBrass, colourReseda, colourInk)
	plate := c.Plate()
	for i, m := range plate {
		ground, relief := 0, 2 // of reverse and chamber: ink on brass
		if i == 0 {
			ground, relief = 1, 0 // of the obverse: brass on reseda
		}
		fmt.Fprintf(&out, "\n<object id=\"%d\" type=\"model\" name=\"%s\" pid=\"1\" pindex=\"%d\"><mesh><vertices>", i+2, m.Name, ground)
		for _, v := range m.Vertices {
			out.WriteString(`<vertex x="` + decimal(v.X) + `" y="` + decimal(v.Y) + `" z="` + decimal(v.Z) + `"/>`)
		}
		out.WriteString("</vertices><triangles>")
		for _, t := range m.Triangles {
			fmt.Fprintf(&out, `<triangle v1="%d" v2="%d" v3="%d"`, t.Corners[0], t.Corners[1], t.Corners[2])
			if t.Relief {
				fmt.Fprintf(&out, ` pid="1" p1="%d"`, relief)
			}
			out.WriteString("/>")
		}
		out.WriteString("</triangles></mesh></object>")
	}
	out.WriteString("\n</resources>\n<build>")
	for i := range plate {
		fmt.Fprintf(&out, `<item objectid="%d"/>`, i+2)
	}
	out.WriteString("</build>\n</model>\n")
	return out.Bytes()
}

// decimal writes micrometres as exact millimetres.
func decimal(micrometres int32) string {
	sign := ""
	v := int64(micrometres)
	if v < 0 {
		sign, v = "-", -v
	}
	s := sign + strconv.FormatInt(v/1000, 10)
	if v%1000 != 0 {
		s += fmt.Sprintf(".%03d", v%1000)
	}
	return s
}
