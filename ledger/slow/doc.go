// Package slow is the reserve's books as the text of the rules tells them: every account
// is touched at every tick, every minting's markup is kept by itself, every value has 256
// binary digits below the JT. It is obvious, and far too slow to run a reserve with: the
// tests of package ledger, and runs of the simulator on the reserve's own code, are checked
// against it.
//
// [Books] follow whole reserves, [Bare] the bare movements of a [ledger.Run]. They share no
// code with package ledger but the commands and the policy's documents, which they trust.
// Totals that depend on the sum of all wallets may be one JT off once in a while; each wallet,
// whose fast form keeps a fraction of its own, to one JT; whatever else there is is equal to the
// JT. Where a rule decides between two outcomes by a wallet's funds and these are within one
// JT of what is needed, the outcome that the fast books came to is followed.
//
// It does no I/O and reads no clock; nothing is kept. It implements the ledger's
// specification, sections 1 and 2.
package slow
