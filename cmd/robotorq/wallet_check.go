package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/client"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/wallet"
	"robotorq.org/reserve/wallet/purse"
)

type walletCheckSolvencyCmd struct {
	walletFlags
	File    string   `placeholder:"FILE" help:"Check a file that was kept, without a network; takes --balance."`
	Keep    string   `placeholder:"FILE" help:"Keep what the reserve shows in this file."`
	Balance string   `placeholder:"AMOUNT" help:"What was held, saved and under notice at the statement's posting, \"4500000 JT\" (default: what the wallet's own statement makes it)."`
	Root    []string `sep:"none" placeholder:"HEX" help:"Pin the charter to this root key (default: the one that the wallet remembers)."`
}

// Help is the long help with examples.
func (walletCheckSolvencyCmd) Help() string {
	return `Every day the vault signs what it owes to all wallets together; the statement is logged.
This checks that the statement is signed and logged, that the wallet's balance is a leaf of
its tree, and that it is what the wallet's own movements make it. Everything but the asking
is done here.

Examples:
  robotorq wallet check-solvency --keep proof.json
  robotorq wallet check-solvency --file proof.json --balance "4500000 JT"`
}

// solvent is the answer of `wallet check-solvency`.
type solvent struct {
	OK       bool                    `json:"ok"`
	Summary  *wallet.SolvencySummary `json:"summary,omitempty"`
	Expected purse.Between           `json:"expected"`
	Fault    *faultJSON              `json:"fault,omitempty"`
	Warnings []string                `json:"warnings"`
}

func (c *walletCheckSolvencyCmd) Run(ctx context.Context, std streams, g *global) error {
	roots, err := parseRoots(c.Root)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	answer := solvent{Warnings: []string{}}
	if err := c.check(ctx, std, roots, &answer); err != nil {
		f := proof.AsFault(err)
		if f == nil {
			return err
		}
		answer.Fault = faultOf(f)
		if g.JSON {
			if err := writeJSON(std.Out, answer); err != nil {
				return err
			}
		}
		return err
	}
	answer.OK = true
	if !answer.Summary.Pinned {
		answer.Warnings = append(answer.Warnings, unpinned)
	}
	if g.JSON {
		return writeJSON(std.Out, answer)
	}
	s := answer.Summary
	fmt.Fprintf(std.Out, "%s is counted with %s (%s JT).\n", s.Account, s.Balance.RTGrouped(), counted(int64(s.Balance)))
	t := table(std.Out)
	fmt.Fprintf(t, "  statement\tof posting %s, %s\n", counted(s.Seq), localTime(s.Issued))
	fmt.Fprintf(t, "  owed to all\t%s to %s\n", s.Sum.RTGrouped(), several(s.Wallets, "wallet"))
	fmt.Fprintf(t, "  log\tentry %s of %s\n", counted(s.LogIndex), counted(s.LogSize))
	if err := t.Flush(); err != nil {
		return err
	}
	for _, w := range answer.Warnings {
		fmt.Fprintln(std.Err, "Note: "+w+".")
	}
	return nil
}

func (c *walletCheckSolvencyCmd) check(ctx context.Context, std streams, roots []merkle.Hash, answer *solvent) error {
	var data []byte
	var expected *purse.Between
	account := c.Account
	if c.Balance != "" {
		amount, err := torq.ParseRT(c.Balance)
		if err != nil {
			return &exitError{exitUsage, err}
		}
		expected = &purse.Between{Low: amount, High: amount}
	}
	if c.File != "" {
		if expected == nil {
			return &exitError{exitUsage, errors.New("--file is checked against a balance: say with --balance what the wallet held at the statement's posting")}
		}
		var err error
		if data, err = readInput(std, c.File); err != nil {
			return &exitError{exitUsage, err}
		}
	} else {
		w, err := openWallet(std, c.walletFlags)
		if err != nil {
			return err
		}
		account = w.Account()
		if len(roots) == 0 {
			if roots, err = w.Roots(); err != nil {
				return err
			}
		}
		if data, err = insist(ctx, func() ([]byte, error) { return w.Client().SolvencyFile(ctx, account) }); err != nil {
			if client.Is(err, api.CodeUnknownAccount) {
				return fmt.Errorf("%w (the vault makes a statement each day, and the next one counts every wallet that is enrolled by then: ask again tomorrow)", err)
			}
			return purse.Explain(err)
		}
		if c.Keep != "" {
			if err := replaceFile(c.Keep, data, 0o600); err != nil {
				return err
			}
		}
		if expected == nil {
			if expected, err = w.Expect(ctx, data, roots); err != nil {
				return purse.Explain(err)
			}
		}
	}
	answer.Expected = *expected
	s, err := purse.CheckCounted(data, account, *expected, roots)
	if err == nil {
		answer.Summary = &s
	}
	return err
}

type walletCheckReceiptsCmd struct {
	walletFlags
	Root []string `sep:"none" placeholder:"HEX" help:"Pin the charter to this root key (default: the one that the wallet remembers)."`
}

// Help is the long help with an example.
func (walletCheckReceiptsCmd) Help() string {
	return `The wallet keeps the vault's signed receipt of every order (FILE.receipts beside it). This
asks for the postings that they name and for the newest logged head, and checks that the
books still hold exactly what the vault has signed. A receipt that is absent under a later
head proves fraud: keep both, and have anybody with the books run robotorq audit --receipts.

Example:
  robotorq wallet check-receipts --json`
}

// receiptState is what became of a kept receipt.
type receiptState struct {
	OrderID string     `json:"order_id"`
	Account string     `json:"account"`
	Posting uint64     `json:"posting"`
	State   string     `json:"state"` // covered by a logged head, pending, or fault
	Fault   *faultJSON `json:"fault,omitempty"`
}

// receiptsChecked is the answer of `wallet check-receipts`.
type receiptsChecked struct {
	OK       bool           `json:"ok"`
	Head     uint64         `json:"head"` // posting of the newest logged head
	Receipts []receiptState `json:"receipts"`
}

func (c *walletCheckReceiptsCmd) Run(ctx context.Context, std streams, g *global) error {
	roots, err := parseRoots(c.Root)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	w, err := openWallet(std, c.walletFlags)
	if err != nil {
		return err
	}
	kept, err := w.Receipts()
	if err != nil {
		return err
	}
	if err := meet(ctx, std, w); err != nil {
		return err
	}
	if len(roots) == 0 {
		if roots, err = w.Roots(); err != nil {
			return err
		}
	}
	anchor, head, err := w.NewestHead(ctx, roots)
	if err != nil {
		return purse.Explain(err)
	}
	answer := receiptsChecked{OK: true, Head: head.Seq, Receipts: []receiptState{}}
	var first error
	for _, k := range kept {
		if k.Account != w.Account() {
			continue
		}
		found, err := w.CheckKept(ctx, anchor, head, k)
		state := receiptState{OrderID: found.OrderID, Account: k.Account, Posting: found.Posting, State: "pending"}
		if found.Covered {
			state.State = "covered"
		}
		if err != nil {
			f := proof.AsFault(err)
			if f == nil {
				return purse.Explain(err)
			}
			state.State, state.Fault, answer.OK = "fault", faultOf(f), false
			if first == nil {
				first = err
			}
		}
		answer.Receipts = append(answer.Receipts, state)
	}
	if g.JSON {
		if err := writeJSON(std.Out, answer); err != nil {
			return err
		}
		return first
	}
	t := table(std.Out)
	for _, r := range answer.Receipts {
		fmt.Fprintf(t, "%s\tposting %s\t%s\n", r.OrderID, counted(r.Posting), r.State)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(std.Out, "%s checked; the newest logged head is of posting %s.\n", several(len(answer.Receipts), "receipt"), counted(head.Seq))
	if slices.ContainsFunc(answer.Receipts, func(r receiptState) bool { return r.State == "pending" }) {
		fmt.Fprintln(std.Out, "What is pending is in the books; the next head, which is logged every hour, covers it.")
	}
	return first
}
