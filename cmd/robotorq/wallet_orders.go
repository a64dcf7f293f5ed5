package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/wallet"
	"robotorq.org/reserve/wallet/purse"
)

type walletSendCmd struct {
	walletFlags
	To      string        `arg:"" optional:"" help:"Who gets it: member:ID, org:ID or a name of the address book."`
	Amount  []string      `arg:"" optional:"" help:"How much: 1.25 RT or 4500000 JT."`
	Memo    string        `help:"Words to the receiver, at most 256 bytes."`
	Expires time.Duration `default:"5m" help:"After this the order is void."`
	Again   string        `placeholder:"FILE" type:"existingfile" help:"Send an order again whose answer did not come; it is done once."`
}

// Help is the long help with examples.
func (walletSendCmd) Help() string {
	return `The order is signed here and done by the reserve as a whole or not at all. The vault's
signed receipt is checked and kept. When no answer comes the order is kept in a file, and
--again sends the very same one: whatever happened, it is done once.

Examples:
  robotorq wallet send member:bob 1.25 RT --memo "for the chair"
  robotorq wallet send "Bob the baker" 4500000JT
  robotorq wallet send org:print-works 4500000JT --wallet ada.json`
}

// sent is the answer of `wallet send`.
type sent struct {
	OrderID  string          `json:"order_id"`
	From     string          `json:"from"`
	To       string          `json:"to"`
	JT       torq.JT         `json:"jt"`
	Posting  uint64          `json:"posting"`
	Hash     string          `json:"posting_hash"`
	Repeated bool            `json:"repeated"`
	Receipt  json.RawMessage `json:"receipt"`
}

func (c *walletSendCmd) Run(ctx context.Context, std streams, g *global) error {
	if c.Again != "" {
		return c.again(ctx, std, g)
	}
	if c.To == "" || len(c.Amount) == 0 {
		return &exitError{exitUsage, errors.New("say to whom and how much: robotorq wallet send member:bob 1.25 RT")}
	}
	amount, err := wallet.ParseAmount(strings.Join(c.Amount, " "))
	if err != nil {
		return &exitError{exitUsage, err}
	}
	file, _, err := c.open()
	if err != nil {
		return err
	}
	to, err := file.Resolve(c.To)
	if err != nil {
		return &exitError{exitUsage, fmt.Errorf("%w: write member:%[2]s or org:%[2]s", err, c.To)}
	}
	operation, err := wallet.Send(to, amount, c.Memo)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	w, err := openWallet(std, c.walletFlags)
	if err != nil {
		return err
	}
	d, err := execute(ctx, std, w, c.Expires, operation)
	if err != nil {
		return err
	}
	return printSent(std, g, sent{d.OrderID, d.From, to, amount, d.Posting, d.Hash, d.Repeated, d.Receipt})
}

func printSent(std streams, g *global, s sent) error {
	if g.JSON {
		return writeJSON(std.Out, s)
	}
	how := "Sent"
	if s.Repeated {
		how = "Was sent before:"
	}
	_, err := fmt.Fprintf(std.Out, "%s %s (%s JT) to %s. Posting %s, receipt signed by the vault.\n", how, s.JT.RTGrouped(), counted(int64(s.JT)), s.To, counted(s.Posting))
	return err
}

// again sends an order that was kept.
func (c *walletSendCmd) again(ctx context.Context, std streams, g *global) error {
	k, err := purse.ReadOrder(c.Again)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	o := k.Order
	if c.Account == "" {
		c.Account = o.From
	}
	w, err := openWallet(std, c.walletFlags)
	if err != nil {
		return err
	}
	if err := meet(ctx, std, w); err != nil {
		return err
	}
	r, outcome, err := w.Settle(ctx, k)
	switch {
	case outcome == purse.OutcomeVoid:
		return fmt.Errorf("the order was never done and never will be: %w", err)
	case outcome == purse.OutcomePending && purse.WasRefused(err):
		return fmt.Errorf("%w; it was not done so far, may be until it expires, and is kept in %s", err, c.Again)
	case err != nil:
		return err
	}
	op := o.Operations[0]
	if op.Kind != ledger.OpSend {
		return printDone(std, g, doneOf(o.From, r), "The order")
	}
	return printSent(std, g, sent{r.OrderID, o.From, op.To, torq.JT(op.Amount), r.Posting, r.Hash, r.Repeated, r.Envelope})
}

func printDone(std streams, g *global, d done, what string) error {
	if g.JSON {
		return writeJSON(std.Out, d)
	}
	how := "was done"
	if d.Repeated {
		how = "was done before"
	}
	_, err := fmt.Fprintf(std.Out, "%s %s. Posting %s, receipt signed by the vault.\n", what, how, counted(d.Posting))
	return err
}

// amountFlags are what an order needs that moves an amount of one's own.
type amountFlags struct {
	Amount  []string      `arg:"" help:"How much: 1.25 RT or 4500000 JT."`
	Expires time.Duration `default:"5m" help:"After this the order is void."`
}

// run executes an order over the amount.
func (c amountFlags) run(ctx context.Context, std streams, g *global, f walletFlags, what string, operation func(torq.JT) (ledger.Operation, error)) error {
	amount, err := wallet.ParseAmount(strings.Join(c.Amount, " "))
	if err != nil {
		return &exitError{exitUsage, err}
	}
	o, err := operation(amount)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	w, err := openWallet(std, f)
	if err != nil {
		return err
	}
	d, err := execute(ctx, std, w, c.Expires, o)
	if err != nil {
		return err
	}
	return printDone(std, g, d, fmt.Sprintf("%s %s (%s JT)", what, amount.RTGrouped(), counted(int64(amount))))
}

type walletSaveCmd struct {
	walletFlags
	amountFlags
}

// Help is the long help with an example.
func (walletSaveCmd) Help() string {
	return `Savings lose nothing and earn half of the demurrage that everybody pays. They are not at
hand: robotorq wallet leave gives notice.

Example:
  robotorq wallet save 2.5 RT`
}

func (c *walletSaveCmd) Run(ctx context.Context, std streams, g *global) error {
	return c.run(ctx, std, g, c.walletFlags, "Saving", wallet.SaveUp)
}

type walletLeaveCmd struct {
	walletFlags
	amountFlags
}

// Help is the long help with an example.
func (walletLeaveCmd) Help() string {
	return `The amount leaves the savings at once: no yield any more, demurrage again. It is paid into
the wallet by itself when the notice has run (robotorq wallet balance shows when).

Example:
  robotorq wallet leave 1 RT`
}

func (c *walletLeaveCmd) Run(ctx context.Context, std streams, g *global) error {
	return c.run(ctx, std, g, c.walletFlags, "Notice for", wallet.Leave)
}

type walletObjectCmd struct {
	walletFlags
	Digest  string        `arg:"" optional:"" help:"Digest of the enrolment that rebinds the account (default: the one that waits)."`
	Expires time.Duration `default:"5m" help:"After this the order is void."`
}

// Help is the long help with an example.
func (walletObjectCmd) Help() string {
	return `A registrar can bind an account to other keys, for somebody who has lost them. That takes
effect after some days (rebind_delay in the policy), unless the old keys object: then
never.

Example:
  robotorq wallet object`
}

func (c *walletObjectCmd) Run(ctx context.Context, std streams, g *global) error {
	w, err := openWallet(std, c.walletFlags)
	if err != nil {
		return err
	}
	if c.Digest == "" {
		p, err := w.Client().Person(ctx, w.Account())
		if err != nil {
			return purse.Explain(err)
		}
		if c.Digest = waitingRebinding(p, time.Now().UnixMilli()); c.Digest == "" {
			return fmt.Errorf("no rebinding of %s waits: there is nothing to object to", w.Account())
		}
	}
	digest, err := merkle.ParseHash(c.Digest)
	if err != nil {
		return &exitError{exitUsage, fmt.Errorf("%q is no digest: 64 hexadecimal digits, as `robotorq members show` prints them", c.Digest)}
	}
	d, err := execute(ctx, std, w, c.Expires, wallet.Object(digest))
	if err != nil {
		return err
	}
	return printDone(std, g, d, "The objection to "+c.Digest[:16]+"…")
}

// waitingRebinding is the digest of the rebinding that waits, "" when there is none.
func waitingRebinding(p api.Person, now int64) (digest string) {
	for _, v := range p.Versions {
		if v.Rebinds && !v.Objected && v.Effective > now {
			digest = v.Digest
		}
	}
	return digest
}
