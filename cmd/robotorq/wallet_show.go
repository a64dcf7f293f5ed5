package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/client"
	"robotorq.org/reserve/node"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/wallet/purse"
)

// reading opens an account to be read: by its key, or with a token.
func (f walletFlags) reading(std streams, token string) (*client.Client, string, error) {
	if token == "" {
		w, err := openWallet(std, f)
		if err != nil {
			return nil, "", err
		}
		return w.Client(), w.Account(), nil
	}
	file, _, err := f.open()
	if err != nil {
		return nil, "", err
	}
	a, err := file.Account(f.Account)
	if err != nil {
		return nil, "", &exitError{exitUsage, err}
	}
	c, err := client.New(f.URL, nil, node.Clock{}, client.WithToken(token))
	if err != nil {
		return nil, "", &exitError{exitUsage, err}
	}
	return c, a.Name, nil
}

type walletBalanceCmd struct {
	walletFlags
	Token string `placeholder:"TOKEN" help:"Token of role portal or admin, for an account that is only watched."`
}

// Help is the long help with an example.
func (walletBalanceCmd) Help() string {
	return `Examples:
  robotorq wallet balance
  robotorq wallet balance --wallet works.json --url https://reserve.example --json`
}

func (c *walletBalanceCmd) Run(ctx context.Context, std streams, g *global) error {
	cl, account, err := c.reading(std, c.Token)
	if err != nil {
		return err
	}
	b, err := cl.Balance(ctx, account)
	if err != nil {
		return purse.Explain(err)
	}
	if g.JSON {
		return writeJSON(std.Out, b)
	}
	t := table(std.Out)
	fmt.Fprintf(t, "%s\t%s\n", b.Account, b.Status)
	fmt.Fprintf(t, "  spendable\t%s\t%s JT\n", b.JT.RTGrouped(), counted(int64(b.JT)))
	fmt.Fprintf(t, "  savings\t%s\t%s JT\n", b.Savings.RTGrouped(), counted(int64(b.Savings)))
	for _, l := range b.Leaving {
		fmt.Fprintf(t, "  under notice\t%s\tdue %s\n", l.JT.RTGrouped(), localTime(uint64(l.Due)))
	}
	fmt.Fprintf(t, "  received\t%s\n  sent\t%s\n  dividends\t%s\n  demurrage\t%s\n", b.Received.RTGrouped(), b.Sent.RTGrouped(), b.Dividend.RTGrouped(), visible(b.Decayed))
	if b.Saved > 0 {
		fmt.Fprintf(t, "  saved\t%s\n  left\t%s\n  savings yield\t%s\n", b.Saved.RTGrouped(), b.Left.RTGrouped(), visible(b.Yield))
	}
	fmt.Fprintf(t, "  as of\tposting %s\t%s\n", counted(b.Posting), localTime(uint64(b.Time)))
	return t.Flush()
}

type walletStatementCmd struct {
	walletFlags
	Format  string `enum:"table,csv,json" default:"table" help:"table, csv or json."`
	Limit   int    `default:"50" help:"Lines at most; 0 for all. CSV always has all."`
	Savings bool   `help:"The movements of the savings instead of the wallet's."`
	Token   string `placeholder:"TOKEN" help:"Token of role portal or admin, for an account that is only watched."`
}

// Help is the long help with examples.
func (walletStatementCmd) Help() string {
	return `Dividends and demurrage between two movements are one line each; of savings it is their
yield. All lines together are the balance.

Examples:
  robotorq wallet statement
  robotorq wallet statement --savings
  robotorq wallet statement --format csv > statement.csv`
}

func (c *walletStatementCmd) Run(ctx context.Context, std streams, g *global) error {
	cl, account, err := c.reading(std, c.Token)
	if err != nil {
		return err
	}
	if c.Format == "csv" && !g.JSON {
		return purse.Explain(purse.WriteCSV(ctx, cl, account, c.Savings, std.Out))
	}
	lines, err := statement(ctx, cl, account, c.Savings, c.Limit)
	if err != nil {
		return purse.Explain(err)
	}
	if c.Format == "json" || g.JSON {
		return writeJSON(std.Out, map[string]any{"account": account, "lines": lines})
	}
	t := table(std.Out)
	fmt.Fprintln(t, "time\tkind\tamount\tbalance\tother\tmemo")
	for _, l := range lines {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", localTime(uint64(l.Time)), kindOfLine(l), visible(l.JT), l.Balance.RTGrouped(), l.Other, oneLine(l.Memo))
	}
	return t.Flush()
}

// statement reads at most limit lines, all with 0.
func statement(ctx context.Context, cl *client.Client, account string, savings bool, limit int) ([]api.StatementLine, error) {
	if limit < 0 {
		return nil, &exitError{exitUsage, errors.New("--limit is a number of lines, 0 for all")}
	}
	return purse.Statement(ctx, cl, account, savings, limit)
}

// visible is an amount in RT, or in JT where five decimals would show nothing of it.
func visible(a torq.JT) string {
	text := a.RTGrouped()
	if a != 0 && strings.Trim(text, "-0. RT") == "" {
		return a.String()
	}
	return text
}

// kindOfLine names a line's kind, and whether it is posted.
func kindOfLine(l api.StatementLine) string {
	if l.Unsettled {
		return l.Kind + " (not settled yet)"
	}
	return l.Kind
}
