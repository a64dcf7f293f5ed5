package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/client"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/wallet"
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
	Expected between                 `json:"expected"`
	Fault    *faultJSON              `json:"fault,omitempty"`
	Warnings []string                `json:"warnings"`
}

// between is where a balance must lie, both ends included.
type between struct {
	Low  torq.JT `json:"low_jt"`
	High torq.JT `json:"high_jt"`
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
	var expected *between
	account := c.Account
	if c.Balance != "" {
		amount, err := torq.ParseRT(c.Balance)
		if err != nil {
			return &exitError{exitUsage, err}
		}
		expected = &between{amount, amount}
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
		account = w.account()
		if len(roots) == 0 {
			if roots, err = w.rememberedRoots(); err != nil {
				return err
			}
		}
		if data, err = insist(ctx, func() ([]byte, error) { return w.client.SolvencyFile(ctx, account) }); err != nil {
			return w.explain(err)
		}
		if c.Keep != "" {
			if err := replaceFile(c.Keep, data, 0o600); err != nil {
				return err
			}
		}
		if expected == nil {
			if expected, err = w.expect(ctx, data); err != nil {
				return w.explain(err)
			}
		}
	}
	answer.Expected = *expected
	return checkCounted(data, account, *expected, roots, answer)
}

// checkCounted checks a solvency file against what a balance must be.
func checkCounted(data []byte, account string, expected between, roots []merkle.Hash, answer *solvent) error {
	f, err := wallet.DecodeSolvencyFile(data)
	if err != nil {
		return &proof.Fault{Artefact: "solvency file", Rule: "form", Detail: err.Error(), Err: err}
	}
	if account == "" {
		account = f.Inclusion.Account
	}
	counts := torq.JT(f.Inclusion.Balance)
	if f.Inclusion.Balance > torq.MaxInteger || counts < expected.Low || counts > expected.High {
		return &proof.Fault{Artefact: "statement of solvency", Digest: f.Statement.Digest(), Rule: "solvency_balance",
			Detail: fmt.Sprintf("%s is counted with %s; by its own movements it is owed %s to %s", account, counts, expected.Low, expected.High)}
	}
	s, err := wallet.CheckSolvency(f, account, counts, wallet.CheckOptions{Roots: roots})
	if err == nil {
		answer.Summary = &s
	}
	return err
}

// rememberedRoots are the roots that the wallet remembers of its reserve; none when they
// have not met.
func (w *purse) rememberedRoots() ([]merkle.Hash, error) {
	data, err := os.ReadFile(w.beside(".reserve"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var known acquaintance
	if err == nil {
		err = json.Unmarshal(data, &known)
	}
	return pinsOf(known.Roots), err
}

// expect is what the wallet is owed at a statement's posting, from what it is owed now
// and its movements since. Dividends, demurrage and yield that reach over the posting
// are known only to lie on either side of it.
func (w *purse) expect(ctx context.Context, document []byte) (*between, error) {
	f, err := wallet.DecodeSolvencyFile(document)
	if err != nil {
		return nil, err
	}
	s, err := proof.DecodeSolvency(f.Statement.Payload)
	if err != nil {
		return nil, err
	}
	now, err := w.client.Balance(ctx, w.account())
	if err != nil {
		return nil, err
	}
	own, err := movementsSince(ctx, w.client, w.account(), false, s.Seq)
	if err != nil {
		return nil, err
	}
	if now.Saved > 0 {
		saved, err := movementsSince(ctx, w.client, w.account(), true, s.Seq)
		if err != nil {
			return nil, err
		}
		own.add(saved)
	}
	total := now.JT + now.Savings
	for _, l := range now.Leaving {
		total += l.JT
		own.noticed += l.JT
	}
	return own.before(total), nil
}

// movements is how an owner's wealth has changed since a posting.
type movements struct {
	certain torq.JT // came in, or went out
	low     torq.JT // of what is certain only within bounds: at least
	high    torq.JT // at most
	noticed torq.JT // was under notice, where demurrage is not listed
	lines   torq.JT
}

func (m *movements) add(o movements) {
	m.certain, m.low, m.high = m.certain+o.certain, m.low+o.low, m.high+o.high
	m.noticed, m.lines = m.noticed+o.noticed, m.lines+o.lines
}

// before is where the wealth before the movements lies when it is total after them. A
// hundredth of what was under notice is more than it lost since yesterday's statement;
// each line may hide one JT.
func (m movements) before(total torq.JT) *between {
	spare := m.lines + 2
	return &between{Low: max(0, total-m.certain-m.high-spare), High: total - m.certain - m.low + m.noticed/100 + spare}
}

// movementsSince reads what has moved since a posting.
func movementsSince(ctx context.Context, c *client.Client, account string, savings bool, since uint64) (m movements, err error) {
	read := c.Statement
	if savings {
		read = c.SavingsStatement
	}
	var spans []api.StatementLine // of the oldest posting so far: they may reach over since
	for page := (api.Page{Limit: api.MaxPage}); ; {
		list, err := read(ctx, account, page)
		if err != nil {
			return m, err
		}
		for _, l := range list.Items {
			if l.Posting <= since {
				return m.spanning(spans), nil
			}
			m.lines++
			switch l.Kind {
			case "saved", "withdrawn":
				m.noticed += max(l.JT, -l.JT)
			case "dividend", "demurrage", "yield":
				if len(spans) > 0 && spans[0].Posting != l.Posting {
					m.settle(spans)
					spans = nil
				}
				spans = append(spans, l)
			default:
				m.certain += l.JT
			}
		}
		if page.Cursor = list.Next; page.Cursor == "" {
			return m.spanning(spans), nil
		}
	}
}

// settle counts lines that lie wholly after the posting.
func (m *movements) settle(lines []api.StatementLine) {
	for _, l := range lines {
		m.certain += l.JT
	}
}

// spanning counts lines that may reach over the posting.
func (m movements) spanning(lines []api.StatementLine) movements {
	for _, l := range lines {
		m.low, m.high = m.low+min(l.JT, 0), m.high+max(l.JT, 0)
	}
	return m
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
	kept, err := readReceipts(w.beside(".receipts"))
	if err != nil {
		return err
	}
	if err := w.meet(ctx, std); err != nil {
		return err
	}
	if len(roots) == 0 {
		roots = pinsOf(w.known.Roots)
	}
	anchor, head, err := w.newestHead(ctx, roots)
	if err != nil {
		return w.explain(err)
	}
	answer := receiptsChecked{OK: true, Head: head.Seq, Receipts: []receiptState{}}
	var first error
	for _, k := range kept {
		if k.Account != w.account() {
			continue
		}
		state, err := w.checkKept(ctx, anchor, head, k)
		if err != nil {
			f := proof.AsFault(err)
			if f == nil {
				return w.explain(err)
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
	return first
}

// newestHead asks for the newest logged head and checks it; before the first full hour
// there is none.
func (w *purse) newestHead(ctx context.Context, roots []merkle.Hash) (anchor *wallet.Anchor, head proof.Head, err error) {
	charter, err := w.client.Charter(ctx)
	if err != nil {
		return nil, head, err
	}
	var charters []seal.Envelope
	for _, raw := range charter.Envelopes {
		var env seal.Envelope
		if err := json.Unmarshal(raw, &env); err != nil {
			return nil, head, err
		}
		charters = append(charters, env)
	}
	if anchor, err = wallet.NewAnchor(charters, wallet.CheckOptions{Roots: roots}); err != nil {
		return nil, head, err
	}
	h, err := w.client.Head(ctx)
	if client.Is(err, api.CodeNoStatement) {
		return anchor, head, nil
	}
	if err != nil {
		return nil, head, err
	}
	var env seal.Envelope
	if err := json.Unmarshal(h.Envelope, &env); err != nil {
		return nil, head, err
	}
	head, err = anchor.Head(env, proof.BundleLog(h.Log))
	return anchor, head, err
}

// checkKept checks one receipt.
func (w *purse) checkKept(ctx context.Context, anchor *wallet.Anchor, head proof.Head, k keptReceipt) (state receiptState, err error) {
	state = receiptState{Account: k.Account, State: "pending"}
	var env seal.Envelope
	if err := json.Unmarshal(k.Receipt, &env); err != nil {
		return state, &proof.Fault{Artefact: "receipt", Rule: "form", Detail: err.Error()}
	}
	r, err := anchor.Receipt(env, k.Order)
	if err != nil {
		return state, err
	}
	state.OrderID, state.Posting = fmt.Sprintf("%x", r.Order), r.Seq
	posted, err := w.client.PostedOrder(ctx, k.Account, state.OrderID)
	if client.Is(err, api.CodeNotFound) {
		return state, &proof.Fault{Artefact: fmt.Sprintf("posting %d", r.Seq), Digest: env.Digest(), Rule: "receipt_absent",
			Detail: fmt.Sprintf("the vault signed that order %s is posting %d; the books do not hold the order, and the logged head is of posting %d", state.OrderID, r.Seq, head.Seq)}
	}
	if err != nil {
		return state, err
	}
	if err := wallet.CheckPosted(r, k.Order, posted.Body, head); err != nil {
		return state, err
	}
	if head.Seq >= r.Seq {
		state.State = "covered"
	}
	return state, nil
}

// readReceipts reads the kept receipts, the oldest first.
func readReceipts(path string) (all []keptReceipt, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no receipts are kept in %s: they are from the first order on", path)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 4<<20)
	for n := 1; lines.Scan(); n++ {
		if strings.TrimSpace(lines.Text()) == "" {
			continue
		}
		var k keptReceipt
		if err := json.Unmarshal(lines.Bytes(), &k); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", path, n, err)
		}
		all = append(all, k)
	}
	return all, lines.Err()
}
