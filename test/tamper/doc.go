// Package tamper holds the test that flips every byte of a data directory of the
// tiny profile, one at a time, and sees each found and named: see docs/auditing.md.
// It is run with `go test -tags tiny ./test/tamper`.
package tamper
