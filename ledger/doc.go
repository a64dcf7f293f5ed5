// Package ledger holds the books of the reserve: double entry, demurrage and
// dividend in constant time, savings, members' orders, and the rules by which
// contracts are funded, certificates become money and money is released.
//
// A [Book] is a pure state machine. It does no I/O and reads no clock: what
// happens is a [Command] and the time at which it happens, in Unix milliseconds,
// and what comes back is a [Posting] whose entries sum to zero, or a typed
// [*Error] and nothing changed.
//
//	for each command that waits:
//	    due, err := book.Advance(now)          // ticks, releases, what else is due by time
//	    outcome, err := book.Apply(command, now)
//	changes := book.Drain()                    // postings and rows of all that changed
//	one transaction: insert changes.Postings, upsert changes.Rows, commit
//	only then answer
//
// # What it trusts
//
// The caller: that an order's signatures were verified ([CheckOrder]), that a
// minting names a certificate that is proven, that commands from Trust are signed
// artefacts. The Book checks everything that money depends on. It trusts the
// [Keys] that it is given to know every idempotency key that was ever drained and
// committed: keys are not kept in memory for longer than two drains.
//
// # What survives a crash
//
// Whatever the caller committed. The rows of [Book.Drain] are exactly what its
// postings changed, and [Book.Restore] rebuilds the Book from rows. When a commit fails
// the Book is ahead of the store: it MUST be thrown away and restored. After a
// broken invariant the Book answers nothing but that error ([CodeInvariant]).
//
// # Accounts
//
// Entries on `member:`, `org:` and `leaving:` accounts roll up into the control
// total `wallets`, those on `savings:` accounts into `savings`; ticks and
// dividends post on the control totals themselves. A control total is the sum of
// both, so a transfer has two entries and still moves its control. Ids may occur
// as member and as organisation, so the accounts beneath are named in full:
// `savings:member:ada`, `leaving:org:acme`. A contract's accounts carry its
// number: `stake.deployed:7`.
//
// A Book is not safe for concurrent use: one writer per book.
//
// The package implements the ledger's specification, sections 1, 2 and 5.
package ledger
