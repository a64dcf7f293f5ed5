package archive

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"robotorq.org/reserve/merkle"
)

// Packs and journals begin with one line of text: what it is, class, sequence
// number in the class (from 1) and the SHA-256 of the class's previous pack
// (zeros for the first).
const (
	packMagic    = "robotorq-pack/1"
	journalMagic = "robotorq-journal/1"
	maxHeader    = 160
)

type header struct {
	class Class
	seq   uint64
	prev  merkle.Hash
}

func (h header) line(magic string) []byte {
	return fmt.Appendf(nil, "%s %s %d %s\n", magic, h.class, h.seq, h.prev)
}

// parseHeader reads the first line of b, which must be written exactly as line
// writes it; it returns the length of the line.
func parseHeader(magic string, b []byte) (header, int, error) {
	bad := &Error{Code: CodeFormat, Detail: "first line is not that of a " + strings.TrimPrefix(strings.TrimSuffix(magic, "/1"), "robotorq-")}
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		return header{}, 0, bad
	}
	f := strings.Split(string(b[:end]), " ")
	if len(f) != 4 || f[0] != magic {
		return header{}, 0, bad
	}
	seq, err := strconv.ParseUint(f[2], 10, 63)
	if err != nil {
		return header{}, 0, bad
	}
	prev, err := merkle.ParseHash(f[3])
	if err != nil {
		return header{}, 0, bad
	}
	h := header{class: Class(f[1]), seq: seq, prev: prev}
	if !h.class.valid() || seq == 0 || !bytes.Equal(h.line(magic), b[:end+1]) {
		return header{}, 0, bad
	}
	return h, end + 1, nil
}

// packName is the file name of a pack.
func packName(class Class, seq uint64, sum merkle.Hash) string {
	return fmt.Sprintf("%s-%08d-%s.pack", class, seq, sum)
}

// parsePackName takes a pack's file name apart; ok is false for any other name.
func parsePackName(name string) (class Class, seq uint64, sum merkle.Hash, ok bool) {
	base, found := strings.CutSuffix(name, ".pack")
	f := strings.Split(base, "-")
	if !found || len(f) != 3 {
		return "", 0, merkle.Hash{}, false
	}
	seq, err := strconv.ParseUint(f[1], 10, 63)
	if err != nil {
		return "", 0, merkle.Hash{}, false
	}
	sum, err = merkle.ParseHash(f[2])
	class = Class(f[0])
	if err != nil || !class.valid() || seq == 0 || packName(class, seq, sum) != name {
		return "", 0, merkle.Hash{}, false
	}
	return class, seq, sum, true
}

func journalName(class Class) string { return string(class) + ".open" }

// Temporary names: a pack being sealed and a journal being begun.
func sealingName(class Class) string   { return string(class) + ".sealing" }
func beginningName(class Class) string { return string(class) + ".beginning" }
