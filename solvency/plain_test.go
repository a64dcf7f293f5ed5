package solvency_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"robotorq.org/reserve/merkle"
)

// The tree as the package comment says it, slowly.

func be64(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

func hash(parts ...[]byte) merkle.Hash { return sha256.Sum256(bytes.Join(parts, nil)) }

func blind(salt merkle.Hash, account string) merkle.Hash {
	return hash([]byte("robotorq.org/solvency"), []byte{0}, salt[:], []byte(account))
}

func leafHash(blind merkle.Hash, balance uint64) merkle.Hash {
	return hash([]byte{0}, blind[:], be64(balance))
}

func nodeHash(leftSum uint64, left merkle.Hash, rightSum uint64, right merkle.Hash) merkle.Hash {
	return hash([]byte{1}, be64(leftSum), left[:], be64(rightSum), right[:])
}

func plain(wallets []owed) (merkle.Hash, uint64) {
	type node struct {
		blind, hash merkle.Hash
		sum         uint64
	}
	var leaves []node
	k := key()
	for _, w := range wallets {
		mac := hmac.New(sha256.New, k[:])
		mac.Write([]byte(w.account))
		b := blind(merkle.Hash(mac.Sum(nil)), w.account)
		leaves = append(leaves, node{b, leafHash(b, uint64(w.balance)), uint64(w.balance)})
	}
	if len(leaves) == 0 {
		return merkle.EmptyRoot(), 0
	}
	slices.SortFunc(leaves, func(a, b node) int { return bytes.Compare(a.blind[:], b.blind[:]) })
	var over func(list []node) node
	over = func(list []node) node {
		if len(list) == 1 {
			return list[0]
		}
		half := 1
		for half*2 < len(list) {
			half *= 2
		}
		l, r := over(list[:half]), over(list[half:])
		return node{hash: nodeHash(l.sum, l.hash, r.sum, r.hash), sum: l.sum + r.sum}
	}
	root := over(leaves)
	return root.hash, root.sum
}
