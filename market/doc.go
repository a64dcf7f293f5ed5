// Package market is the bitcoin marketplace's core: what a funded task, a robot's
// earnings and a payout may do next, and what that does to the sats, as a state
// machine over values. It implements the marketplace specification, sections 2
// and 3.
//
// It does no I/O and reads no clock. A [Machine] is handed the [Books] that an
// operation may read and write, and the time. Every operation makes all its
// checks before its first write and fails with an *[Error], so that a refused one
// has changed nothing; whoever keeps the books commits what an operation wrote as
// a whole. Two books exist: [Memory], and those of package books in a store.
//
// # The sats
//
// They are in a double-entry ledger of their own, in whole sats, and never meet
// the reserve's money. Every [Posting] moves sats between two accounts, so that
// always
//
//	escrow + clients + accrued + fees + in flight = received − paid
//
// which [Machine] asserts after every operation and [Audit] recomputes from every
// row.
//
// # Who is trusted
//
// The Lightning node and the bitcoin node are believed about what was paid; what
// a call that failed has done is never assumed (package rails). A robot is
// trusted with nothing but its own key, a client with nothing but its own
// account.
//
// # Paying once
//
// An entry is bound to at most one sweep, and a sweep to transactions that all
// spend a common input, so that at most one of them can ever be final. The bytes
// are in the books before anybody sees them. Entries are released only while
// nothing was built, or when every candidate lost an input to a final foreign
// transaction.
package market
