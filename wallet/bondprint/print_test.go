package bondprint_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"

	qrcode "github.com/skip2/go-qrcode"
	"pgregory.net/rapid"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/wallet"
	"robotorq.org/reserve/wallet/bondprint"
)

const address = "https://reserve.example/bonds/12"

func demoCoin(t testing.TB) *bondprint.Coin {
	t.Helper()
	coin, err := demoPrint(t, 12, 5, address).Coin(demoSecret())
	if err != nil {
		t.Fatal(err)
	}
	return coin
}

func expect(t *testing.T, what string, err error, code bondprint.Code) {
	t.Helper()
	var e *bondprint.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

func TestOnlyTheBondsOwnSecretIsPrinted(t *testing.T) {
	p := demoPrint(t, 12, 5, address)
	_, err := p.Coin(wallet.Secret{1})
	expect(t, "coin", err, bondprint.CodeSecret)
	_, err = p.Note(wallet.Secret{1})
	expect(t, "note", err, bondprint.CodeSecret)
}

func TestACheckAddressHasNoPlaceForASecret(t *testing.T) {
	for _, bad := range []string{
		"", "reserve.example/bonds/12", "ftp://reserve.example/12", "https://", "https://u:p@reserve.example/12",
		"https://reserve.example/12?secret=x", "https://reserve.example/12#rtqsk1", "https://reserve.example/a%20b",
		"https://reserve.example/bönd", "https://reserve.example/" + strings.Repeat("x", 60), "javascript:alert(1)",
	} {
		_, err := bondprint.New(demoBond(12, 5), bad)
		expect(t, bad, err, bondprint.CodeAddress)
	}
	_, err := bondprint.New(seal.Envelope{PayloadType: proof.TypeRun}, address)
	expect(t, "a run", err, bondprint.CodeBond)
	_, err = bondprint.New(seal.Envelope{PayloadType: proof.TypeBond, Payload: []byte{1}}, address)
	expect(t, "no bond", err, bondprint.CodeBond)
}

func TestABrokenMeshIsNoSolid(t *testing.T) {
	sound := demoCoin(t).Chamber
	for name, spoil := range map[string]func(m *bondprint.Mesh){
		"a missing triangle":    func(m *bondprint.Mesh) { m.Triangles = m.Triangles[1:] },
		"a triangle turned":     func(m *bondprint.Mesh) { c := &m.Triangles[7].Corners; c[0], c[1] = c[1], c[0] },
		"all triangles turned":  func(m *bondprint.Mesh) { turnAll(m) },
		"a triangle twice":      func(m *bondprint.Mesh) { m.Triangles = append(m.Triangles, m.Triangles[3]) },
		"a flat triangle":       func(m *bondprint.Mesh) { m.Triangles[5].Corners[1] = m.Triangles[5].Corners[0] },
		"a vertex of nothing":   func(m *bondprint.Mesh) { m.Vertices = append(m.Vertices, bondprint.Vertex{X: 1, Y: 2, Z: 3}) },
		"a vertex twice":        func(m *bondprint.Mesh) { m.Vertices[9] = m.Vertices[4] },
		"a vertex out of range": func(m *bondprint.Mesh) { m.Triangles[0].Corners[0] = int32(len(m.Vertices)) },
	} {
		m := &bondprint.Mesh{Name: name, Vertices: append([]bondprint.Vertex{}, sound.Vertices...), Triangles: append([]bondprint.Triangle{}, sound.Triangles...)}
		spoil(m)
		expect(t, name, m.Check(), bondprint.CodeMesh)
	}
}

func turnAll(m *bondprint.Mesh) {
	for i := range m.Triangles {
		c := &m.Triangles[i].Corners
		c[0], c[1] = c[1], c[0]
	}
}

func TestThePartsHaveTheirMeasures(t *testing.T) {
	coin := demoCoin(t)
	for _, c := range []struct {
		m      *bondprint.Mesh
		height int32
	}{{coin.Obverse, 2200}, {coin.Reverse, 2200}, {coin.Chamber, 2800}} {
		low, high := c.m.Bounds()
		if high.Z != c.height || low.Z != 0 || high.X-low.X < 59_000 || high.X-low.X > 60_000 {
			t.Errorf("%s: from %v to %v", c.m.Name, low, high)
		}
	}
}

// heightAt is the highest point of a mesh above (x, y), in micrometres.
func heightAt(m *bondprint.Mesh, x, y float64) int32 {
	best := int32(math.MinInt32)
	for _, t := range m.Triangles {
		a, b, c := m.Vertices[t.Corners[0]], m.Vertices[t.Corners[1]], m.Vertices[t.Corners[2]]
		if a.Z != b.Z || b.Z != c.Z || a.Z <= best {
			continue
		}
		side := func(p, q bondprint.Vertex) bool {
			return float64(q.X-p.X)*(y-float64(p.Y))-float64(q.Y-p.Y)*(x-float64(p.X)) >= 0
		}
		if side(a, b) && side(b, c) && side(c, a) {
			best = a.Z
		}
	}
	return best
}

func TestTheReliefOfTheReverseIsTheQRCodeOfTheCheckAddress(t *testing.T) {
	m := demoCoin(t).Reverse
	code, err := qrcode.New("HTTPS://RESERVE.EXAMPLE/bonds/12", qrcode.Medium)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, level := range []qrcode.RecoveryLevel{qrcode.Highest, qrcode.High, qrcode.Medium, qrcode.Low} {
		if code, err = qrcode.New("HTTPS://RESERVE.EXAMPLE/bonds/12", level); err != nil {
			t.Fatal(err)
		}
		code.DisableBorder = true
		if len(code.Bitmap()) <= 33 {
			found = true
			break
		}
	}
	if !found {
		t.Fatal("no code fits")
	}
	bits := code.Bitmap()
	for row := range bits {
		for column := range bits {
			module := 28_000 / float64(len(bits))
			x, y := (float64(column)+0.5)*module-14_000+3, 14_000-(float64(row)+0.5)*module+5
			want := int32(1600)
			if bits[row][column] {
				want = 2200
			}
			if got := heightAt(m, x, y); got != want {
				t.Fatalf("module (%d, %d) is %d µm high, want %d", row, column, got, want)
			}
		}
	}
}

func TestA3MFIsAPackageWithTheThreePartsAndTheSameBytesEachTime(t *testing.T) {
	data, err := demoCoin(t).ThreeMF()
	if err != nil {
		t.Fatal(err)
	}
	again, err := demoCoin(t).ThreeMF()
	if err != nil || !bytes.Equal(data, again) {
		t.Fatalf("two packages of %d and %d bytes, %v", len(data), len(again), err)
	}
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, f := range archive.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if files[f.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	if files["[Content_Types].xml"] == nil || files["_rels/.rels"] == nil {
		t.Fatalf("files %d", len(files))
	}
	var model struct {
		Unit    string `xml:"unit,attr"`
		Objects []struct {
			Name     string `xml:"name,attr"`
			Vertices []struct {
				Z float64 `xml:"z,attr"`
			} `xml:"mesh>vertices>vertex"`
			Triangles []struct {
				V1 int `xml:"v1,attr"`
			} `xml:"mesh>triangles>triangle"`
		} `xml:"resources>object"`
		Items []struct {
			Object int `xml:"objectid,attr"`
		} `xml:"build>item"`
	}
	if err := xml.Unmarshal(files["3D/3dmodel.model"], &model); err != nil {
		t.Fatal(err)
	}
	if model.Unit != "millimeter" || len(model.Objects) != 3 || len(model.Items) != 3 {
		t.Fatalf("%s, %d objects, %d items", model.Unit, len(model.Objects), len(model.Items))
	}
	for i, m := range demoCoin(t).Parts() {
		if o := model.Objects[i]; o.Name != m.Name || len(o.Vertices) != len(m.Vertices) || len(o.Triangles) != len(m.Triangles) {
			t.Errorf("%s: %d vertices, %d triangles", o.Name, len(o.Vertices), len(o.Triangles))
		}
	}
}

// TestAnSTLIsWatertight reads the file as a slicer does, corners by their
// coordinates.
func TestAnSTLIsWatertight(t *testing.T) {
	data := demoCoin(t).STL()
	count := int(binary.LittleEndian.Uint32(data[80:]))
	if len(data) != 84+50*count || bytes.HasPrefix(data, []byte("solid")) {
		t.Fatalf("%d bytes for %d triangles", len(data), count)
	}
	type corner [3]uint32
	edges := map[[2]corner]int{}
	for i := range count {
		var p [4]corner
		for k := range p {
			for j := range p[k] {
				p[k][j] = binary.LittleEndian.Uint32(data[84+50*i+12*k+4*j:])
				if p[k][j] == math.Float32bits(float32(math.Copysign(0, -1))) {
					p[k][j] = 0
				}
			}
		}
		for k := 1; k <= 3; k++ {
			edges[[2]corner{p[k], p[k%3+1]}]++
		}
	}
	for e, n := range edges {
		if n != 1 || edges[[2]corner{e[1], e[0]}] != 1 {
			t.Fatalf("an edge has %d and %d triangles", n, edges[[2]corner{e[1], e[0]}])
		}
	}
}

func TestANoteIsOneSheetWithoutTheSecretInItsText(t *testing.T) {
	p := demoPrint(t, 12, 5, address)
	note, err := p.Note(demoSecret())
	if err != nil {
		t.Fatal(err)
	}
	svg := note.SVG()
	decoder := xml.NewDecoder(bytes.NewReader(svg))
	for {
		if _, err := decoder.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	pdf, err := note.PDF()
	if err != nil {
		t.Fatal(err)
	}
	again, err := p.Note(demoSecret())
	if err != nil {
		t.Fatal(err)
	}
	pdf2, err := again.PDF()
	if err != nil || !bytes.Equal(pdf, pdf2) || !bytes.Equal(svg, again.SVG()) {
		t.Error("the same bond gives other bytes")
	}
	for _, data := range [][]byte{svg, pdf} {
		if bytes.Contains(bytes.ToLower(data), []byte("rtqsk1")) {
			t.Error("the secret can be searched for")
		}
	}
	checkXref(t, pdf)
}

// checkXref holds that a PDF's table points at its objects.
func checkXref(t *testing.T, pdf []byte) {
	t.Helper()
	at := bytes.LastIndex(pdf, []byte("startxref\n"))
	var start int
	for _, c := range pdf[at+10:] {
		if c == '\n' {
			break
		}
		start = start*10 + int(c-'0')
	}
	lines := strings.Split(string(pdf[start:]), "\n")
	if lines[0] != "xref" {
		t.Fatalf("startxref leads to %q", lines[0])
	}
	for i, line := range lines[3:] {
		if !strings.HasSuffix(line, " n ") {
			break
		}
		var offset int
		for _, c := range line[:10] {
			offset = offset*10 + int(c-'0')
		}
		if want := []byte(strconv.Itoa(i+1) + " 0 obj\n"); !bytes.HasPrefix(pdf[offset:], want) {
			t.Fatalf("object %d is not at %d", i+1, offset)
		}
	}
}

func signedBond(t testing.TB, origin string) (seal.Envelope, *seal.Signer) {
	t.Helper()
	mint, err := seal.NewSigner("mint-1", seal.RoleMint)
	if err != nil {
		t.Fatal(err)
	}
	b := proof.Bond{Origin: origin, Serial: 12, Face: 5, Root: merkle.LeafHash(nil), KeyHash: demoSecret().KeyHash(), Issued: 1_800_000_000_000}
	env, err := mint.Sign(proof.TypeBond, b.Encode())
	if err != nil {
		t.Fatal(err)
	}
	return env, mint
}

func TestATagFitsTheChipAndIsReadBack(t *testing.T) {
	env, mint := signedBond(t, "reserve.example/log")
	p, err := bondprint.New(env, address)
	if err != nil {
		t.Fatal(err)
	}
	data, err := p.Tag()
	if err != nil || len(data) > bondprint.MaxTag {
		t.Fatalf("%d bytes, %v", len(data), err)
	}
	if bytes.Contains(data, demoSecret().Public()) || bytes.Contains(data, []byte("rtqsk")) {
		t.Error("the secret is in the tag")
	}
	tag, err := bondprint.ReadTag(append(data, make([]byte, bondprint.MaxTag-len(data))...))
	if err != nil || tag.Address != address || tag.Bond.Serial != 12 {
		t.Fatalf("%+v, %v", tag, err)
	}
	if err := tag.Verify(mint.PublicKeys(0)); err != nil {
		t.Error(err)
	}
	tag.Bond.Face++
	expect(t, "another face", tag.Verify(mint.PublicKeys(0)), bondprint.CodeTag)
	_, other := signedBond(t, "reserve.example/log")
	tag.Bond.Face--
	expect(t, "another mint", tag.Verify(other.PublicKeys(0)), bondprint.CodeTag)
}

func TestWhatFitsNoChipIsRefused(t *testing.T) {
	env, _ := signedBond(t, strings.Repeat("o", 255))
	p, err := bondprint.New(env, "https://"+strings.Repeat("a", 70))
	if err != nil {
		t.Fatal(err)
	}
	if data, err := p.Tag(); err == nil && len(data) > bondprint.MaxTag {
		t.Errorf("%d bytes", len(data))
	}
}

func TestEveryByteOfATagCounts(t *testing.T) {
	env, mint := signedBond(t, "reserve.example/log")
	p, err := bondprint.New(env, address)
	if err != nil {
		t.Fatal(err)
	}
	data, err := p.Tag()
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		at, bit := rapid.IntRange(0, len(data)-2).Draw(t, "at"), rapid.IntRange(0, 7).Draw(t, "bit")
		changed := bytes.Clone(data)
		changed[at] ^= 1 << bit
		tag, err := bondprint.ReadTag(changed)
		if err == nil && tag.Address == address && tag.Verify(mint.PublicKeys(0)) == nil {
			t.Fatalf("bit %d of byte %d may be anything", bit, at)
		}
	})
}

func FuzzReadTag(f *testing.F) {
	env, _ := signedBond(f, "reserve.example/log")
	p, err := bondprint.New(env, address)
	if err != nil {
		f.Fatal(err)
	}
	data, err := p.Tag()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte{3, 255, 255, 255})
	f.Fuzz(func(t *testing.T, data []byte) {
		if tag, err := bondprint.ReadTag(data); err == nil && tag.Bond.Serial == 0 {
			t.Error("a tag without a bond")
		}
	})
}
