package wallet

import "strings"

// Bech32m (BIP-350): text of 32 letters and digits that no two of which look alike,
// with a checksum of six that finds any four wrong characters. A bond's secret is
// written so because it has to survive relief, ink and fingers.

const (
	bech32Letters = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
	bech32mConst  = 0x2bc830a3
	bech32Check   = 6
)

func bech32Polymod(values []byte) uint32 {
	generator := [5]uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3}
	sum := uint32(1)
	for _, v := range values {
		top := sum >> 25
		sum = sum&0x1ffffff<<5 ^ uint32(v)
		for i, g := range generator {
			if top>>i&1 == 1 {
				sum ^= g
			}
		}
	}
	return sum
}

func bech32Expand(prefix string) []byte {
	var out []byte
	for _, c := range []byte(prefix) {
		out = append(out, c>>5)
	}
	out = append(out, 0)
	for _, c := range []byte(prefix) {
		out = append(out, c&31)
	}
	return out
}

// encodeBech32m writes prefix, "1", the data in groups of five bits and the checksum.
func encodeBech32m(prefix string, data []byte) string {
	groups := regroup(data, 8, 5)
	sum := bech32Polymod(append(append(bech32Expand(prefix), groups...), make([]byte, bech32Check)...)) ^ bech32mConst
	var out strings.Builder
	out.WriteString(prefix)
	out.WriteByte('1')
	for _, g := range groups {
		out.WriteByte(bech32Letters[g])
	}
	for i := range bech32Check {
		out.WriteByte(bech32Letters[sum>>(5*(bech32Check-1-i))&31])
	}
	return out.String()
}

// decodeBech32m reads what encodeBech32m writes, all in one case.
func decodeBech32m(prefix, text string) ([]byte, error) {
	if lower := strings.ToLower(text); text != lower && text != strings.ToUpper(text) {
		return nil, failf(CodeSecret, "upper and lower case are mixed")
	} else {
		text = lower
	}
	body, ok := strings.CutPrefix(text, prefix+"1")
	if !ok || len(body) < bech32Check {
		return nil, failf(CodeSecret, "it does not begin with %q", prefix+"1")
	}
	groups := make([]byte, len(body))
	for i, c := range []byte(body) {
		at := strings.IndexByte(bech32Letters, c)
		if at < 0 {
			return nil, failf(CodeSecret, "character %d, %q, does not occur in a secret", len(prefix)+2+i, c)
		}
		groups[i] = byte(at)
	}
	if bech32Polymod(append(bech32Expand(prefix), groups...)) != bech32mConst {
		return nil, failf(CodeSecret, "the checksum does not fit: a character is wrong")
	}
	groups = groups[:len(groups)-bech32Check]
	data := regroup(groups, 5, 8)
	whole := len(groups) * 5 / 8
	if len(data) > whole { // the padding: fewer than five bits, all zero
		if len(groups)*5-whole*8 >= 5 || data[whole] != 0 {
			return nil, failf(CodeSecret, "its last bits mean nothing and are not zero")
		}
		data = data[:whole]
	}
	return data, nil
}

// regroup turns groups of from bits into groups of to bits, the last one padded with
// zeros at its end.
func regroup(in []byte, from, to uint) []byte {
	var out []byte
	var buffer, held uint
	for _, b := range in {
		buffer, held = buffer<<from|uint(b), held+from
		for held >= to {
			held -= to
			out = append(out, byte(buffer>>held&(1<<to-1)))
		}
		buffer &= 1<<held - 1
	}
	if held > 0 {
		out = append(out, byte(buffer<<(to-held)&(1<<to-1)))
	}
	return out
}
