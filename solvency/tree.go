package solvency

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"math/bits"
	"slices"
	"strconv"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/torq"
)

// Key blinds the accounts of one statement. Whoever has it can tell which leaf is
// whose; the vault keeps it, and gives members the salts that follow from it.
type Key [32]byte

// NewKey derives the key of the statement at a posting from a secret of the vault
// (at least 32 random bytes), so that no two statements have one key and a tree can
// be built again from the books.
func NewKey(secret []byte, origin string, seq uint64) (Key, error) {
	if len(secret) < 32 {
		return Key{}, failf(CodeMalformed, "a vault's secret has at least 32 bytes, this one has %d", len(secret))
	}
	raw, err := hkdf.Key(sha256.New, secret, nil, "robotorq.org/solvency/v1 "+strconv.FormatUint(seq, 10)+" "+origin, 32)
	if err != nil {
		return Key{}, failf(CodeMalformed, "derive: %v", err)
	}
	return Key(raw), nil
}

// MaxAccount is the longest name of an account in bytes.
const MaxAccount = 512

const blindTag = "robotorq.org/solvency\x00"

// leaf is 40 bytes a wallet: all that a tree keeps of it.
type leaf struct {
	blind   merkle.Hash
	balance uint64
}

// Builder collects wallets. It is not safe for concurrent use.
type Builder struct {
	key    Key
	mac    hash.Hash
	leaves []leaf
	sum    uint64
	buffer []byte
}

// NewBuilder begins a tree; wallets is about how many there will be.
func NewBuilder(key Key, wallets int) *Builder {
	return &Builder{key: key, mac: hmac.New(sha256.New, key[:]), leaves: make([]leaf, 0, max(wallets, 0))}
}

// Add counts an account with all that it is owed. The error has code [CodeAccount],
// [CodeNegative] or [CodeOverflow]; that an account is there twice shows
// [Builder.Build].
func (b *Builder) Add(account string, balance torq.JT) error {
	if account == "" || len(account) > MaxAccount {
		return failf(CodeAccount, "an account's name has 1 to %d bytes, this one has %d", MaxAccount, len(account))
	}
	if balance < 0 {
		return failf(CodeNegative, "account %q has %s", account, balance)
	}
	if uint64(balance) > torq.MaxInteger-b.sum {
		return failf(CodeOverflow, "with account %q, which has %s, the sum is over 2^53-1 JT", account, balance)
	}
	b.sum += uint64(balance)
	b.leaves = append(b.leaves, leaf{blind: b.blind(account), balance: uint64(balance)})
	return nil
}

func (b *Builder) salt(account string) (salt merkle.Hash) {
	b.mac.Reset()
	b.buffer = append(b.buffer[:0], account...)
	_, _ = b.mac.Write(b.buffer) // a hash's Write never fails
	b.mac.Sum(salt[:0])
	return salt
}

func (b *Builder) blind(account string) merkle.Hash {
	salt := b.salt(account)
	return blindOf(b.buffer, salt, account)
}

func blindOf(buffer []byte, salt merkle.Hash, account string) merkle.Hash {
	buffer = append(buffer[:0], blindTag...)
	buffer = append(buffer, salt[:]...)
	return sha256.Sum256(append(buffer, account...))
}

// Build sorts the leaves and hashes the tree. The Builder must not be used again.
// The error has code [CodeDuplicate]; a reserve without wallets has the empty tree,
// whose root is SHA-256("").
func (b *Builder) Build() (*Tree, error) {
	slices.SortFunc(b.leaves, func(x, y leaf) int { return bytes.Compare(x.blind[:], y.blind[:]) })
	for i := 1; i < len(b.leaves); i++ {
		if b.leaves[i].blind == b.leaves[i-1].blind {
			return nil, failf(CodeDuplicate, "an account with %s is there twice", torq.JT(b.leaves[i].balance))
		}
	}
	t := &Tree{builder: b}
	t.top = make([]sumNode, (len(b.leaves)+block-1)/block)
	for i := range t.top {
		t.top[i] = t.over(i*block, min((i+1)*block, len(b.leaves)))
	}
	t.root = sumNode{hash: merkle.EmptyRoot()}
	if len(b.leaves) > 0 {
		t.root = t.node(0, len(b.leaves))
	}
	return t, nil
}

// block is how many leaves stand under a node that a Tree keeps: what lies beneath is
// hashed again for a proof, which costs a thousand hashes and saves half the memory.
const block = 1 << 10

// Tree is the Merkle-sum tree of one statement. Reads beside each other are not
// safe: a Tree has scratch space.
type Tree struct {
	builder *Builder
	top     []sumNode // over each block of leaves
	root    sumNode
}

type sumNode struct {
	hash merkle.Hash
	sum  uint64
}

// Root is the hash of the root.
func (t *Tree) Root() merkle.Hash { return t.root.hash }

// Sum is what all wallets are owed together.
func (t *Tree) Sum() torq.JT { return torq.JT(t.root.sum) }

// Wallets is the number of leaves.
func (t *Tree) Wallets() uint64 { return uint64(len(t.builder.leaves)) }

// Statement is the payload that the vault signs: the tree of the books at posting
// seq.
func (t *Tree) Statement(origin string, seq, issuedMS uint64) proof.Solvency {
	return proof.Solvency{Origin: origin, Seq: seq, Root: t.root.hash, Sum: t.root.sum, Wallets: t.Wallets(), Issued: issuedMS}
}

// over hashes leaves [from, to), at least one.
func (t *Tree) over(from, to int) sumNode { return overLeaves(t.builder.leaves[from:to]) }

// node is over, from the kept nodes where it can: a span that begins at a block and
// ends at one, or at the end of the tree, consists of whole subtrees.
func (t *Tree) node(from, to int) sumNode {
	if to-from > block {
		middle := from + split(to-from)
		return join(t.node(from, middle), t.node(middle, to))
	}
	if from%block == 0 && (to-from == block || to == len(t.builder.leaves)) {
		return t.top[from/block]
	}
	return t.over(from, to)
}

// split is the largest power of two below n; n ≥ 2.
func split(n int) int { return 1 << (bits.Len(uint(n-1)) - 1) }

func leafNode(l leaf) sumNode {
	var data [1 + merkle.Size + 8]byte
	copy(data[1:], l.blind[:])
	binary.BigEndian.PutUint64(data[1+merkle.Size:], l.balance)
	return sumNode{hash: sha256.Sum256(data[:]), sum: l.balance}
}

// join is the node over two others. Their sums are at most 2⁵³ − 1 each, so that the
// sum does not wrap; that it is at most 2⁵³ − 1 itself is up to the caller.
func join(left, right sumNode) sumNode {
	var data [1 + 2*(8+merkle.Size)]byte
	data[0] = 1
	binary.BigEndian.PutUint64(data[1:], left.sum)
	copy(data[9:], left.hash[:])
	binary.BigEndian.PutUint64(data[41:], right.sum)
	copy(data[49:], right.hash[:])
	return sumNode{hash: sha256.Sum256(data[:]), sum: left.sum + right.sum}
}
