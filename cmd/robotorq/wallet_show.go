package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/client"
	"robotorq.org/reserve/node"
)

// reading opens an account to be read: by its key, or with a token.
func (f walletFlags) reading(std streams, token string) (*client.Client, string, error) {
	if token == "" {
		w, err := openWallet(std, f)
		if err != nil {
			return nil, "", err
		}
		return w.client, w.account(), nil
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
		return (&purse{}).explain(err)
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
	fmt.Fprintf(t, "  received\t%s\n  sent\t%s\n  dividends\t%s\n  demurrage\t%s\n", b.Received.RTGrouped(), b.Sent.RTGrouped(), b.Dividend.RTGrouped(), b.Decayed.RTGrouped())
	if b.Saved > 0 {
		fmt.Fprintf(t, "  saved\t%s\n  left\t%s\n  savings yield\t%s\n", b.Saved.RTGrouped(), b.Left.RTGrouped(), b.Yield.RTGrouped())
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
		return (&purse{}).explain(writeCSV(ctx, cl, account, c.Savings, std.Out))
	}
	lines, err := statement(ctx, cl, account, c.Savings, c.Limit)
	if err != nil {
		return (&purse{}).explain(err)
	}
	if c.Format == "json" || g.JSON {
		return writeJSON(std.Out, map[string]any{"account": account, "lines": lines})
	}
	t := table(std.Out)
	fmt.Fprintln(t, "time\tkind\tamount\tbalance\tother\tmemo")
	for _, l := range lines {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", localTime(uint64(l.Time)), l.Kind, l.JT.RTGrouped(), l.Balance.RTGrouped(), l.Other, oneLine(l.Memo))
	}
	return t.Flush()
}

// writeCSV writes all parts of a statement as one.
func writeCSV(ctx context.Context, cl *client.Client, account string, savings bool, w io.Writer) error {
	out := &headless{w: w}
	for cursor := ""; ; {
		next, err := cl.StatementCSVFrom(ctx, account, savings, cursor, out)
		if err != nil || next == "" {
			return err
		}
		cursor, out.skipping = next, true
	}
}

// headless leaves out the first line of what is written to it, when it is told to.
type headless struct {
	w        io.Writer
	skipping bool
}

func (h *headless) Write(p []byte) (int, error) {
	for i, b := range p {
		if !h.skipping {
			n, err := h.w.Write(p[i:])
			return i + n, err
		}
		h.skipping = b != '\n'
	}
	return len(p), nil
}

// statement reads at most limit lines, all with 0.
func statement(ctx context.Context, cl *client.Client, account string, savings bool, limit int) ([]api.StatementLine, error) {
	if limit < 0 {
		return nil, &exitError{exitUsage, errors.New("--limit is a number of lines, 0 for all")}
	}
	read := cl.Statement
	if savings {
		read = cl.SavingsStatement
	}
	lines := []api.StatementLine{}
	for page := (api.Page{Limit: api.MaxPage}); ; {
		if limit > 0 {
			page.Limit = min(api.MaxPage, limit-len(lines))
		}
		list, err := read(ctx, account, page)
		if err != nil {
			return nil, err
		}
		lines = append(lines, list.Items...)
		if page.Cursor = list.Next; page.Cursor == "" || limit > 0 && len(lines) >= limit {
			return lines, nil
		}
	}
}
