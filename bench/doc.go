// Package bench measures the ledger as it runs: the vault's station, on disk, with
// many clients at once. What it prints are ratios to what the same machine does without
// the ledger: the driver writing the same rows in groups of the same size, and both
// cores verifying nothing but signatures.
//
// [Market] does the same for the marketplace: signed claims over HTTP beside the same
// requests without books, and a sweep of thousands of payees.
//
// It makes reserves of its own in directories that it is given and removes them. Time
// is that of the Clock that it is handed. It trusts nothing and keeps nothing.
//
// It measures what the ledger specification, section 1, "Storage and speed", promises.
package bench
