//go:build whole

// Package whole_test drives the built binary as its users do: it starts the demo,
// kills it, changes bytes under it, and asks its own commands and another
// implementation whether everything holds. Build tag whole, because it takes
// minutes and two cores.
package whole_test

import (
	"os"
	"testing"

	"robotorq.org/reserve/test/running"
)

func TestMain(m *testing.M) { os.Exit(running.Main(m)) }

// Result is how a command ended.
type Result = running.Result

// Process is a running reserve.
type Process = running.Process

// MustBinary builds the command once, static as it is released.
func MustBinary(t *testing.T) string {
	t.Helper()
	return running.MustBinary(t)
}

// Robotorq runs one command to its end, at most for ten minutes.
func Robotorq(t *testing.T, args ...string) Result {
	t.Helper()
	return running.Robotorq(t, args...)
}

// MustPass runs a command that must exit with 0.
func MustPass(t *testing.T, args ...string) Result {
	t.Helper()
	return running.MustPass(t, args...)
}

// MustStart starts `up` and waits until it says where its page is.
func MustStart(t *testing.T, args ...string) *Process {
	t.Helper()
	return running.MustStart(t, args...)
}

// awaitCertificates waits until a running demo has minted so many.
func awaitCertificates(t *testing.T, p *Process, n uint64) {
	t.Helper()
	p.AwaitCertificates(t, n)
}

// minted asks the page's API; 0 when it does not answer.
func minted(url string) uint64 { return running.Minted(url) }
