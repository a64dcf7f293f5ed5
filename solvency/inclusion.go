package solvency

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/gowebpki/jcs"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/torq"
)

// Sibling is a node beside a member's path: its hash and the sum beneath it.
type Sibling struct {
	Hash merkle.Hash `json:"hash"`
	Sum  uint64      `json:"sum"` // JT
}

// Inclusion proves to one member that its balance is counted in a statement. It is
// for that member's eyes.
type Inclusion struct {
	Account string      `json:"account"`
	Balance uint64      `json:"balance"` // JT
	Salt    merkle.Hash `json:"salt"`
	Index   uint64      `json:"index"` // of the leaf
	Path    []Sibling   `json:"path"`  // from the leaf's sibling to the root's child
}

// Prove makes the proof for an account. The error has code [CodeUnknown].
func (t *Tree) Prove(account string) (Inclusion, error) {
	blind := t.builder.blind(account)
	at, found := slices.BinarySearchFunc(t.builder.leaves, blind, func(l leaf, want merkle.Hash) int {
		return bytes.Compare(l.blind[:], want[:])
	})
	if !found {
		return Inclusion{}, failf(CodeUnknown, "account %q is not in the statement", account)
	}
	in := Inclusion{Account: account, Balance: t.builder.leaves[at].balance, Salt: t.builder.salt(account), Index: uint64(at), Path: []Sibling{}}
	from, to := 0, len(t.builder.leaves)
	for to-from > 1 {
		middle := from + split(to-from)
		var beside sumNode
		if at < middle {
			beside, to = t.node(middle, to), middle
		} else {
			beside, from = t.node(from, middle), middle
		}
		in.Path = append(in.Path, Sibling{Hash: beside.hash, Sum: beside.sum})
	}
	slices.Reverse(in.Path)
	return in, nil
}

// CheckInclusion checks that a statement counts account with exactly balance, which
// the caller knows from its own books. The statement's signature is checked before
// (wallet.CheckSolvency does both). The errors' codes are [CodeAccount],
// [CodeBalance], [CodePath], [CodeOverflow] and [CodeRoot].
func CheckInclusion(s proof.Solvency, in Inclusion, account string, balance torq.JT) error {
	if in.Account != account || account == "" || len(account) > MaxAccount {
		return failf(CodeAccount, "the proof is for account %q, not %q", in.Account, account)
	}
	if balance < 0 || in.Balance != uint64(balance) {
		return failf(CodeBalance, "the statement counts %s with %s, it should be %s", account, torq.JT(in.Balance), balance)
	}
	if s.Sum > torq.MaxInteger || s.Wallets > torq.MaxInteger || in.Balance > torq.MaxInteger {
		return failf(CodeOverflow, "a sum or a balance is over 2^53-1 JT")
	}
	if in.Index >= s.Wallets || len(in.Path) != merkle.PathLength(in.Index, s.Wallets) {
		return failf(CodePath, "a path of %d nodes from leaf %d does not fit a tree of %d wallets", len(in.Path), in.Index, s.Wallets)
	}
	node := leafNode(leaf{blind: blindOf(nil, in.Salt, account), balance: in.Balance})
	index, last := in.Index, s.Wallets-1
	for i, sibling := range in.Path {
		if sibling.Sum > torq.MaxInteger-node.sum {
			return failf(CodeOverflow, "node %d of the path has a sum of %d JT: together with what is beneath it leaves 2^53-1", i, sibling.Sum)
		}
		beside := sumNode{hash: sibling.Hash, sum: sibling.Sum}
		for last > 0 && last == index && index&1 == 0 { // the last node of a level has no sibling there
			index, last = index>>1, last>>1
		}
		if index&1 == 1 {
			node = join(beside, node)
		} else {
			node = join(node, beside)
		}
		index, last = index>>1, last>>1
	}
	if node.hash != s.Root || node.sum != s.Sum {
		return failf(CodeRoot, "the path leads to root %s with %s, the statement says %s with %s", node.hash, torq.JT(node.sum), s.Root, torq.JT(s.Sum))
	}
	return nil
}

// CheckBacking checks that what a statement owes is at most what certificates back:
// supply is −issuance at the statement's posting.
func CheckBacking(s proof.Solvency, supply torq.JT) error {
	if supply < 0 || s.Sum > uint64(supply) {
		return failf(CodeShortfall, "wallets are owed %s, certificates back %s", torq.JT(s.Sum), supply)
	}
	return nil
}

const maxInclusion = 64 << 10

// DecodeInclusion reads an inclusion's JSON strictly. The error has code
// [CodeMalformed].
func DecodeInclusion(data []byte) (Inclusion, error) {
	var in Inclusion
	if len(data) > maxInclusion {
		return in, failf(CodeMalformed, "an inclusion of %d bytes, at most %d", len(data), maxInclusion)
	}
	normal, err := jcs.Transform(data)
	if err != nil {
		return in, failf(CodeMalformed, "read inclusion: %v", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(normal))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&in); err != nil {
		return in, failf(CodeMalformed, "read inclusion: %v", err)
	}
	plain, err := json.Marshal(in)
	if err != nil {
		return in, failf(CodeMalformed, "read inclusion: %v", err)
	}
	again, err := jcs.Transform(plain)
	if err != nil || in.Path == nil || !bytes.Equal(again, normal) {
		return in, failf(CodeMalformed, "inclusion: members are missing, repeated, null or not in their form")
	}
	return in, nil
}
