// Package slow is the reserve's books as the text of the rules tells them: every account
// is touched at every tick, every minting's markup is kept by itself, every value has 256
// binary digits below the JT. It is obvious, and far too slow to run a reserve with. A
// run of the simulator on the reserve's own code is checked against it.
//
// It shares no code with package ledger but the commands and the policy's documents, which
// it trusts. Every total and every contract must be equal to the JT; a wallet, whose fast
// form keeps a fraction of its own, to one JT. It does no I/O and reads no clock; nothing
// is kept. It implements the ledger's specification, sections 1 and 2.
package slow
