//go:build race

package bus_test

// The race detector makes the pure Go SQLite some ten times slower.
const underRace = true
