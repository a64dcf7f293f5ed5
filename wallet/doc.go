// Package wallet is what a member holds: a seed with its backup words, accounts and
// their keys, an address book, orders, bearer bonds and the checks of what the
// reserve says.
//
//	words    a seed of 32 bytes as 24 words, and back
//	seed     both key pairs of an account, derived from the seed
//	file     one wallet in one JSON file, mode 0600, the seed under a passphrase
//	order    amounts as people type them, orders built and signed
//	bearer   a bond's secret; redemption and reissue, signed and verified
//	bond     the file of a bond and its check without a network
//	solvency the file that shows a member that its balance is counted
//
// # What it trusts
//
// The system's random source, the libraries of package seal, and the member's own
// machine. What comes from a reserve is checked against the root keys that the
// caller pins; without pins the checks say so ([BondSummary].Pinned). The public
// part of a wallet file (accounts, address book) is only as safe as its mode; when
// the seed is unlocked the keys in the file are compared with the derived ones.
//
// # What survives a crash
//
// Wallet and secret files are written whole under another name, synced and renamed
// or linked into place: after a crash there is the old file or the new one. Nothing
// else does I/O, and nothing reads a clock: times are Unix milliseconds given by the
// caller.
//
// The package implements the wallet's part of the ledger's specification, section 2
// (bearer bonds) and section 4 (statement of solvency), and the bond, redemption,
// reissue and solvency payloads of the proof chain's section 2.
package wallet
