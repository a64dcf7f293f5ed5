// Package solvency builds the Merkle-sum tree over all wallets with which every
// member checks that its own balance is counted in the liabilities that the
// reserve's certificates back, without seeing anybody else's.
//
// # The tree
//
// A wallet is a leaf. Its account is blinded, so that a path shows nobody's name:
//
//	salt  = HMAC-SHA-256(key of this statement, account)
//	blind = SHA-256("robotorq.org/solvency" ‖ 0x00 ‖ salt ‖ account)
//	leaf  = SHA-256(0x00 ‖ blind ‖ uint64be(balance))
//	node  = SHA-256(0x01 ‖ uint64be(left sum) ‖ left ‖ uint64be(right sum) ‖ right)
//
// Leaves stand in ascending order of their blinds, no two alike, so that the order
// tells nothing of the accounts; a tree of n leaves splits at the largest power of
// two below n, as in RFC 6962. A node commits to both sums beneath it, not to their
// total (in the tree first described by Maxwell a reserve could hide liabilities by
// giving each member another split of one total). The statement that the vault signs
// and logs, proof.Solvency, holds the root, its sum and the number of leaves.
//
// # What is caught
//
// A balance is an amount from 0 to 2⁵³ − 1 JT and so is every sum; whoever checks a
// path checks that for each sum on it, so neither a negative balance nor one that
// wraps around can stand beneath any member's path. The position of a leaf and the
// number of leaves fix the shape of its path. A member's leaf is bound to its
// account, so two members of one balance cannot be shown one leaf. What is left out
// altogether is noticed by the one who was left out, and by whoever is given all
// leaves and builds the tree again: that is what an audit does.
//
// The sum of a path's siblings is seen by the member who asks for it: blinds hide
// names, not that somewhere there are two wallets with so much between them.
//
// The package does no I/O and reads no clock, uses integers only, trusts SHA-256 and
// the secrecy of the statement's key, and keeps nothing that could survive a crash.
// It implements the statement of solvency of the ledger's specification, section 4.
package solvency
