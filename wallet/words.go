package wallet

import (
	"crypto/sha256"
	_ "embed"
	"slices"
	"strings"
)

// wordList is the English list of BIP-39: 2,048 words, one a line, sorted; the first
// four letters of a word are its own. It is part of that standard and is distributed
// with its implementations under the MIT licence.
//
//go:embed words.txt
var wordList string

const (
	seedWords  = 24
	wordBits   = 11
	wordLetter = 4 // letters that tell a word from all others
)

func words() []string { return strings.Fields(wordList) }

// encodeWords writes 32 bytes and the first 8 bits of their SHA-256 as 24 words of
// 11 bits each, as BIP-39 does with 256 bits of entropy.
func encodeWords(data [32]byte) string {
	sum := sha256.Sum256(data[:])
	bits := append(data[:], sum[0])
	list := words()
	out := make([]string, seedWords)
	for i := range out {
		out[i] = list[takeBits(bits, i*wordBits, wordBits)]
	}
	return strings.Join(out, " ")
}

// takeBits reads n bits from position at, the most significant first.
func takeBits(b []byte, at, n int) int {
	v := 0
	for i := at; i < at+n; i++ {
		v = v<<1 | int(b[i/8]>>(7-i%8)&1)
	}
	return v
}

// decodeWords reads 24 words, in any case and spacing, each whole or cut to its
// first four letters.
func decodeWords(text string) (data [32]byte, err error) {
	fields := strings.Fields(strings.ToLower(text))
	if len(fields) != seedWords {
		return data, failf(CodeWords, "%d words, want %d", len(fields), seedWords)
	}
	list := words()
	var bits [33]byte
	for i, word := range fields {
		index, ok := findWord(list, word)
		if !ok {
			return data, failf(CodeWords, "word %d, %q, is not in the list%s", i+1, clip(word), suggest(list, word))
		}
		for k := range wordBits {
			at := i*wordBits + k
			bits[at/8] |= byte(index>>(wordBits-1-k)&1) << (7 - at%8)
		}
	}
	copy(data[:], bits[:])
	if sum := sha256.Sum256(data[:]); sum[0] != bits[32] {
		return [32]byte{}, failf(CodeWords, "every word is in the list, but the checksum does not fit: a word is wrong or two have changed places")
	}
	return data, nil
}

func findWord(list []string, word string) (int, bool) {
	i, found := slices.BinarySearch(list, word)
	if found {
		return i, true
	}
	return i, len(word) == wordLetter && i < len(list) && strings.HasPrefix(list[i], word)
}

// suggest names the words of the list that one wrong, missing or added letter
// explains.
func suggest(list []string, word string) string {
	var near []string
	for _, w := range list {
		if oneEdit(w, word) {
			near = append(near, w)
		}
	}
	if len(near) == 0 || len(near) > 4 {
		return ""
	}
	return "; did you mean " + strings.Join(near, " or ") + "?"
}

// oneEdit reports whether a and b differ by one letter that is changed, missing or
// added.
func oneEdit(a, b string) bool {
	if len(a) < len(b) {
		a, b = b, a
	}
	if len(a)-len(b) > 1 {
		return false
	}
	i := 0
	for i < len(b) && a[i] == b[i] {
		i++
	}
	if len(a) == len(b) {
		return i < len(b) && a[i+1:] == b[i+1:]
	}
	return a[i+1:] == b[i:]
}
