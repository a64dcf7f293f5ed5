package main

import (
	"context"
	"encoding/json"
	"fmt"

	"robotorq.org/reserve/backup"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/vault/audit"
	"robotorq.org/reserve/wallet/purse"
)

type auditCmd struct {
	Data     string   `placeholder:"DIR" help:"Data directory (default: ${data})."`
	Root     []string `sep:"none" placeholder:"HEX" help:"Pin the charter to this root key (64 hex digits, repeatable)."`
	Receipts []string `type:"existingfile" sep:"none" placeholder:"FILE" help:"Receipts that a wallet has kept (its .receipts file): each must be in the books (repeatable)."`
	Books    string   `placeholder:"URL" help:"PostgreSQL database with the vault's books, as robotorq up --vault-db names it (default: the file in the data directory)."`
	Profile  string   `hidden:""`
}

// Help is the long help with examples.
func (auditCmd) Help() string {
	return `Runs every posting again from the logged artefacts and compares all that the vault
keeps: balances, indices, contracts, dividends, receipts. It reads only, and works
beside a running reserve. What backs the certificates is checked by robotorq verify.

Exits 0 when everything agrees, 1 when something is wrong, which is named, and 2
when it could not be checked.

Examples:
  robotorq audit --data /var/lib/robotorq
  robotorq audit --data /tmp/demo --json`
}

// audited is the answer of `audit`.
type audited struct {
	OK       bool          `json:"ok"`
	Summary  audit.Summary `json:"summary"`
	Fault    *faultJSON    `json:"fault,omitempty"`
	Warnings []string      `json:"warnings"`
}

func (c *auditCmd) Run(ctx context.Context, std streams, g *global) error {
	dir := dataDir(c.Data)
	roots, err := parseRoots(c.Root)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	r, err := openReserve(dir, c.Profile)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	receipts, err := keptReceipts(c.Receipts)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	if c.Books == "" && !absent(r.path(backup.BooksElsewhere)) {
		return &exitError{exitUsage, fmt.Errorf("the vault's books of %s are in a PostgreSQL database: name it with --books", dir)}
	}
	bar := newProgress(std.Err, g.JSON)
	sum, err := audit.Run(ctx, dir, audit.Options{Books: c.Books, Profile: r.profile, Origin: r.origin, Roots: roots, Receipts: receipts, Progress: bar.at})
	bar.end()
	f := proof.AsFault(err)
	if err != nil && f == nil {
		return &exitError{exitUsage, fmt.Errorf("the books in %s could not be checked: %w", dir, err)}
	}
	answer := audited{OK: f == nil, Summary: sum, Warnings: []string{}}
	if f != nil {
		answer.Fault = faultOf(f)
	} else if !sum.Pinned {
		answer.Warnings = append(answer.Warnings, unpinned)
	}
	if g.JSON {
		if err := writeJSON(std.Out, answer); err != nil {
			return err
		}
	} else if f == nil {
		printAudit(std, sum)
	}
	if f != nil {
		return answered{fmt.Errorf("%s: %w", dir, err)}
	}
	return nil
}

// keptReceipts reads the receipts that wallets have kept.
func keptReceipts(files []string) (all []audit.KeptReceipt, err error) {
	for _, file := range files {
		kept, err := purse.ReadReceipts(file)
		if err != nil {
			return nil, err
		}
		for i, k := range kept {
			one := audit.KeptReceipt{Order: k.Order}
			if err := json.Unmarshal(k.Receipt, &one.Receipt); err != nil {
				return nil, fmt.Errorf("%s, receipt %d: %w", file, i+1, err)
			}
			all = append(all, one)
		}
	}
	return all, nil
}

func printAudit(std streams, s audit.Summary) {
	fmt.Fprintf(std.Out, "The books of %s agree with its log.\n", s.Origin)
	t := table(std.Out)
	fmt.Fprintf(t, "  postings\t%s, the last at %s\n", counted(s.Postings), localTime(s.Time))
	fmt.Fprintf(t, "  head\t%s\n", s.Head)
	fmt.Fprintf(t, "  certificates\t%s minted, %s recalled, %s disputed\n", counted(s.Certificates), counted(s.Recalled), counted(s.Disputed))
	fmt.Fprintf(t, "  supply\t%s = %s JT\n", s.Supply.RTGrouped(), counted(int64(s.Supply)))
	fmt.Fprintf(t, "  capital\t%s\n", s.Capital.RTGrouped())
	fmt.Fprintf(t, "  contracts\t%s, %s closed early\n", counted(s.Contracts), counted(s.Closings))
	fmt.Fprintf(t, "  policies\t%s\n", counted(s.Policies))
	fmt.Fprintf(t, "  wallets\t%s, %s eligible\n", counted(s.Wallets), several(s.Members, "member"))
	fmt.Fprintf(t, "  orders\t%s\n", counted(s.Orders))
	fmt.Fprintf(t, "  bonds\t%s, %s by their bearers\n", several(s.Bonds, "bond"), several(s.Claims, "claim"))
	fmt.Fprintf(t, "  solvency\t%s\n", several(s.Statements, "statement"))
	fmt.Fprintf(t, "  dividends\t%s, %s in all\n", counted(s.Dividends), s.Paid.RTGrouped())
	fmt.Fprintf(t, "  rows\t%s\n", counted(s.Rows))
	t.Flush()
	if s.Unposted > 0 || s.Unlogged > 0 {
		fmt.Fprintf(std.Out, "On their way: %s logged and not yet posted, %s posted and not yet logged.\n", counted(s.Unposted), counted(s.Unlogged))
	}
	if !s.Pinned {
		fmt.Fprintln(std.Err, "Note: "+unpinned+".")
	}
}
