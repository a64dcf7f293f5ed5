package bondprint

import "fmt"

// Fonts are the embedded fonts.
func Fonts() []string { return []string{"serif", "serif-bold", "sans", "mono"} }

// LetterFaults lists the letters of a font whose lines meet.
func LetterFaults(name string) ([]string, error) {
	f, err := readFont(name)
	if err != nil {
		return nil, err
	}
	var faults []string
	for r, g := range f.glyphs {
		if k, l, meet := meeting(lines(g.outline.transform(zoom(4)))); meet {
			faults = append(faults, fmt.Sprintf("%q at %v–%v", r, k, l))
		}
	}
	return faults, nil
}

// ReliefFaults lists where lines of the coin's reliefs meet each other or the rim.
func (p *Print) ReliefFaults() ([]string, error) {
	f, err := readFonts()
	if err != nil {
		return nil, err
	}
	var faults []string
	for name, relief := range map[string]func(fonts) ([][]pt, error){"obverse": p.obverseRelief, "reverse": p.reverseRelief} {
		all, err := relief(f)
		if err != nil {
			return nil, err
		}
		if k, l, meet := meeting(append(all, circle(rimRadius, 360))); meet {
			faults = append(faults, fmt.Sprintf("%s at %v–%v", name, k, l))
		}
	}
	return faults, nil
}

// meeting finds two edges of closed lines that meet but at their common end.
func meeting(all [][]pt) (pt, pt, bool) {
	boxes := make([]box, len(all))
	for i, line := range all {
		boxes[i] = boxOf(line)
	}
	for i, a := range all {
		for j, b := range all[:i+1] {
			if boxes[i].low.x > boxes[j].high.x || boxes[j].low.x > boxes[i].high.x || boxes[i].low.y > boxes[j].high.y || boxes[j].low.y > boxes[i].high.y {
				continue
			}
			if k, l, meet := firstMeeting(a, b, i == j); meet {
				return k, l, true
			}
		}
	}
	return pt{}, pt{}, false
}

func firstMeeting(a, b []pt, same bool) (pt, pt, bool) {
	for i, p := range a {
		q := a[(i+1)%len(a)]
		for j, u := range b {
			v := b[(j+1)%len(b)]
			if same && (i == j || (i+1)%len(a) == j || (j+1)%len(a) == i) {
				continue
			}
			if p == u || p == v || q == u || q == v || crosses(p, q, u, v) {
				return p, u, true
			}
		}
	}
	return pt{}, pt{}, false
}
