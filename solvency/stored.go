package solvency

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sort"

	"robotorq.org/reserve/merkle"
)

// Leaves and nodes as they are stored: 40 bytes a wallet, 72 for each 1,024 of them.
const (
	leafSize = merkle.Size + 8
	topSize  = 2*merkle.Size + 8
)

// Blocks is how many blocks of leaves the tree has.
func (t *Tree) Blocks() int { return len(t.top) }

// Block is block i of the leaves, for [OpenStored]: at most 40 KiB.
func (t *Tree) Block(i int) []byte {
	part := t.builder.leaves[i*block : min((i+1)*block, len(t.builder.leaves))]
	out := make([]byte, 0, len(part)*leafSize)
	for _, l := range part {
		out = binary.BigEndian.AppendUint64(append(out, l.blind[:]...), l.balance)
	}
	return out
}

// Top is what [OpenStored] needs beside the blocks.
func (t *Tree) Top() []byte {
	out := make([]byte, 0, len(t.top)*topSize)
	for i, n := range t.top {
		first := t.builder.leaves[i*block].blind
		out = append(append(out, first[:]...), n.hash[:]...)
		out = binary.BigEndian.AppendUint64(out, n.sum)
	}
	return out
}

// Stored is a tree whose leaves lie in a store: a proof reads one block of them.
type Stored struct {
	key     Key
	wallets int
	top     []storedNode
	load    func(block int) ([]byte, error)
}

type storedNode struct {
	first merkle.Hash // the smallest blind beneath it
	sumNode
}

// OpenStored opens a tree of so many wallets from its top; load reads a block. The
// error has code [CodeMalformed].
func OpenStored(key Key, wallets uint64, top []byte, load func(block int) ([]byte, error)) (*Stored, error) {
	s := &Stored{key: key, wallets: int(wallets), load: load}
	if uint64(len(top)) != (wallets+block-1)/block*topSize {
		return nil, failf(CodeMalformed, "the top of a tree of %d wallets has %d bytes", wallets, len(top))
	}
	for part := range slices.Chunk(top, topSize) {
		var n storedNode
		copy(n.first[:], part)
		copy(n.hash[:], part[merkle.Size:])
		n.sum = binary.BigEndian.Uint64(part[2*merkle.Size:])
		s.top = append(s.top, n)
	}
	return s, nil
}

// Prove makes the proof for an account, as [Tree.Prove] does. The error has code
// [CodeUnknown] or [CodeMalformed], or is that of load.
func (s *Stored) Prove(account string) (Inclusion, error) {
	b := Builder{key: s.key, mac: hmac.New(sha256.New, s.key[:])}
	salt, blind := b.salt(account), b.blind(account)
	number := sort.Search(len(s.top), func(i int) bool { return bytes.Compare(s.top[i].first[:], blind[:]) > 0 }) - 1
	if number < 0 {
		return Inclusion{}, failf(CodeUnknown, "account %q is not in the statement", account)
	}
	leaves, err := s.block(number)
	if err != nil {
		return Inclusion{}, err
	}
	at, found := slices.BinarySearchFunc(leaves, blind, func(l leaf, want merkle.Hash) int { return bytes.Compare(l.blind[:], want[:]) })
	if !found {
		return Inclusion{}, failf(CodeUnknown, "account %q is not in the statement", account)
	}
	index := number*block + at
	return Inclusion{
		Account: account, Balance: leaves[at].balance, Salt: salt, Index: uint64(index), Path: s.path(index, number*block, leaves),
	}, nil
}

func (s *Stored) block(number int) ([]leaf, error) {
	raw, err := s.load(number)
	if err != nil {
		return nil, err
	}
	want := min(block, s.wallets-number*block)
	if len(raw) != want*leafSize {
		return nil, failf(CodeMalformed, "block %d of the leaves has %d bytes, want %d", number, len(raw), want*leafSize)
	}
	leaves := make([]leaf, 0, want)
	for part := range slices.Chunk(raw, leafSize) {
		l := leaf{balance: binary.BigEndian.Uint64(part[merkle.Size:])}
		copy(l.blind[:], part)
		leaves = append(leaves, l)
	}
	return leaves, nil
}

// path is the path of a leaf, whose block begins at base, to the root.
func (s *Stored) path(index, base int, leaves []leaf) []Sibling {
	path := []Sibling{}
	over := func(from, to int) sumNode {
		if to-from > block || from/block != base/block || from%block == 0 && (to-from == block || to == s.wallets) {
			return s.node(from, to)
		}
		return overLeaves(leaves[from-base : to-base])
	}
	for from, to := 0, s.wallets; to-from > 1; {
		middle := from + split(to-from)
		var beside sumNode
		if index < middle {
			beside, to = over(middle, to), middle
		} else {
			beside, from = over(from, middle), middle
		}
		path = append(path, Sibling{Hash: beside.hash, Sum: beside.sum})
	}
	slices.Reverse(path)
	return path
}

// node is the node over whole blocks.
func (s *Stored) node(from, to int) sumNode {
	if to-from > block {
		middle := from + split(to-from)
		return join(s.node(from, middle), s.node(middle, to))
	}
	return s.top[from/block].sumNode
}

func overLeaves(leaves []leaf) sumNode {
	if len(leaves) == 1 {
		return leafNode(leaves[0])
	}
	middle := split(len(leaves))
	return join(overLeaves(leaves[:middle]), overLeaves(leaves[middle:]))
}
