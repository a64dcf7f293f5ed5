// Package rails says what the marketplace needs of the two rails on which sats
// travel, Lightning and the chain: the calls, the values that pass and the
// classes of errors. It holds no rule and does no I/O.
//
// Behind the interfaces stand lnd and bitcoind (packages lightning and chain), or
// the simulated rails (package simulated). Callers trust an implementation to
// tell "it did not happen" from "nobody knows": everything that keeps a robot
// from being paid twice rests on that difference (the marketplace specification,
// sections 3.11 and 4).
//
// Amounts are whole sats, times are Unix milliseconds, hashes of payments are
// bytes, ids of transactions and blocks are the usual reversed lower-case hex.
package rails
