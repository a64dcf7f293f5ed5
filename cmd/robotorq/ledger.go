package main

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"robotorq.org/reserve/ledger"
)

type ledgerCmd struct {
	Replay ledgerReplayCmd `cmd:"" help:"Run a file of operations on a fresh ledger and print the end state."`
}

type ledgerReplayCmd struct {
	File string `arg:"" help:"Operations file, JSON; - for standard input."`
}

// Help is the long help with an example.
func (ledgerReplayCmd) Help() string {
	return `The file is {"policy": {"demurrage_per_year", "savers_share", "savings_cap_per_year"},
"ops": [{"op": "enrol", …}, …]} with the operations enrol, leave, mint, tick, send,
save, unsave and dividend.

Examples:
  robotorq ledger replay operations.json
  robotorq ledger replay --json operations.json`
}

func (c *ledgerReplayCmd) Run(std streams, g *global) error {
	data, err := readInput(std, c.File)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	final, err := ledger.Replay(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	if g.JSON {
		return writeJSON(std.Out, final)
	}
	return printFinal(std, final)
}

func printFinal(std streams, f ledger.Final) error {
	results := map[string]int{}
	for _, r := range f.Results {
		results[r]++
	}
	fmt.Fprintf(std.Out, "%s run.\n", several(len(f.Results), "operation"))
	t := table(std.Out)
	for _, r := range slices.Sorted(maps.Keys(results)) {
		fmt.Fprintf(t, "  %s\t%s\n", r, counted(results[r]))
	}
	fmt.Fprintf(t, "\nD\t%s\nU\t%s\nS\t%s\nC\t%s\nY\t%s\n\n", f.D, f.U, f.S, f.C.RTGrouped(), f.Y)
	for _, name := range slices.Sorted(maps.Keys(f.Accounts)) {
		fmt.Fprintf(t, "%s\t%s\n", name, f.Accounts[name].RTGrouped())
	}
	fmt.Fprintf(t, "\nwallet\tbalance\tsavings\n")
	for _, name := range slices.Sorted(maps.Keys(f.Wallets)) {
		saved := "–"
		if s, ok := f.Savings[name]; ok {
			saved = s.RTGrouped()
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", name, f.Wallets[name].RTGrouped(), saved)
	}
	return t.Flush()
}
