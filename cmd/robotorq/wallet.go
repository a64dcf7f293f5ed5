package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/client"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/node"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

type walletCmd struct {
	New       walletNewCmd       `cmd:"" help:"Make a wallet's keys and the request that a registrar admits."`
	Balance   walletBalanceCmd   `cmd:"" help:"What the wallet holds now."`
	Send      walletSendCmd      `cmd:"" help:"Send money to a member or an organisation."`
	Statement walletStatementCmd `cmd:"" help:"The wallet's movements, newest first."`
}

// walletFlags say which wallet, and which node.
type walletFlags struct {
	Wallet string `placeholder:"FILE" help:"The wallet's key file (default: robotorq/wallet.json among your configuration)."`
	URL    string `name:"url" placeholder:"URL" default:"http://127.0.0.1:8080" help:"The reserve's node."`
}

// walletFile is where the wallet's keys lie when the flag does not say.
func walletFile(flag string) string {
	if flag != "" {
		return flag
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "robotorq-wallet.json"
	}
	return filepath.Join(dir, "robotorq", "wallet.json")
}

type walletNewCmd struct {
	ID      string `arg:"" help:"Id that the member will have: a-z, 0-9 and '-', at most 63."`
	Org     bool   `help:"The wallet of an enterprise, a robot's owner or a service, not of a person."`
	Wallet  string `placeholder:"FILE" help:"Key file to make (default: robotorq/wallet.json among your configuration)."`
	Encrypt bool   `help:"Ask for a passphrase (ROBOTORQ_PASSPHRASE encrypts without asking)."`
}

// Help is the long help with an example.
func (walletNewCmd) Help() string {
	return `The keys stay in the key file; lose it and only a registrar can give you the wallet
back. The request, which holds no secret, goes to a registrar.

Examples:
  robotorq wallet new ada
  robotorq wallet new print-works --org --wallet works.json
  ROBOTORQ_PASSPHRASE=… robotorq wallet new ada > request.json`
}

// admissionRequest is what a wallet's owner sends to a registrar.
type admissionRequest struct {
	Member string             `json:"member,omitempty"`
	Org    string             `json:"org,omitempty"`
	Keys   []api.AdmissionKey `json:"keys"`
}

func (c *walletNewCmd) Run(std streams, g *global) error {
	if !seal.ValidID(c.ID) {
		return &exitError{exitUsage, fmt.Errorf("%q is not an id: 1 to 63 of a-z, 0-9 and '-', not beginning with '-'", c.ID)}
	}
	path := walletFile(c.Wallet)
	if _, err := os.Stat(path); err == nil {
		return fmt.Errorf("%s exists already, and a wallet's keys are never written over: choose another --wallet", path)
	}
	text, err := newPassphrase(std, c.Encrypt)
	if err != nil {
		return err
	}
	role := seal.RoleMember
	request := admissionRequest{Member: c.ID}
	if c.Org {
		role, request = seal.RoleOrg, admissionRequest{Org: c.ID}
	}
	keys, err := seal.NewSigner(c.ID, role)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := seal.WriteKeyFile(path, text, keys); err != nil {
		return err
	}
	for _, k := range keys.Keys {
		request.Keys = append(request.Keys, api.AdmissionKey{Alg: k.Alg, Public: k.Public})
	}
	if !g.JSON {
		fmt.Fprintf(std.Err, "Made the wallet %s:%s in %s.\nSend what follows to a registrar; `robotorq members enrol FILE` admits it.\n", role, c.ID, path)
	}
	return writeJSON(std.Out, request)
}

type walletBalanceCmd struct {
	walletFlags
}

// Help is the long help with an example.
func (walletBalanceCmd) Help() string {
	return `Examples:
  robotorq wallet balance
  robotorq wallet balance --wallet works.json --url https://reserve.example --json`
}

func (c *walletBalanceCmd) Run(ctx context.Context, std streams, g *global) error {
	w, err := openWallet(std, c.walletFlags)
	if err != nil {
		return err
	}
	b, err := w.client.Balance(ctx, w.account())
	if err != nil {
		return w.explain(err)
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
	fmt.Fprintf(t, "  as of\tposting %s\t%s\n", counted(b.Posting), localTime(uint64(b.Time)))
	return t.Flush()
}

type walletSendCmd struct {
	walletFlags
	To      string        `arg:"" optional:"" help:"Who gets it: member:ID or org:ID."`
	Amount  []string      `arg:"" optional:"" help:"How much: 1.25 RT or 4500000 JT."`
	Memo    string        `help:"Words to the receiver, at most 256 bytes."`
	Expires time.Duration `default:"5m" help:"After this the order is void."`
	Again   string        `placeholder:"FILE" type:"existingfile" help:"Send an order again whose answer did not come; it is done once."`
}

// Help is the long help with examples.
func (walletSendCmd) Help() string {
	return `The order is signed here and done by the reserve as a whole or not at all. The vault's
signed receipt is checked. When no answer comes the order is kept in a file, and
--again sends the very same one: whatever happened, it is done once.

Examples:
  robotorq wallet send member:bob 1.25 RT --memo "for the chair"
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
	w, err := openWallet(std, c.walletFlags)
	if err != nil {
		return err
	}
	if err := w.meet(ctx, std); err != nil {
		return err
	}
	env, order, err := c.order(w)
	if err != nil {
		return err
	}
	receipt, err := w.deliver(ctx, std, env, order)
	if err != nil {
		return err
	}
	op := order.Operations[0]
	answer := sent{receipt.OrderID, order.From, op.To, torq.JT(op.Amount), receipt.Posting, receipt.Hash, receipt.Repeated, receipt.Envelope}
	if g.JSON {
		return writeJSON(std.Out, answer)
	}
	done := "Sent"
	if receipt.Repeated {
		done = "Was sent before:"
	}
	_, err = fmt.Fprintf(std.Out, "%s %s (%s JT) to %s. Posting %s, receipt signed by the vault.\n", done, answer.JT.RTGrouped(), counted(int64(answer.JT)), op.To, counted(receipt.Posting))
	return err
}

// order makes and signs the order, or reads the one that is to be sent again.
func (c *walletSendCmd) order(w *wallet) (env seal.Envelope, o ledger.Order, err error) {
	if c.Again != "" {
		data, err := os.ReadFile(c.Again)
		if err == nil {
			err = json.Unmarshal(data, &env)
		}
		if err == nil {
			o, err = ledger.OrderFrom(env)
		}
		if err != nil {
			return env, o, &exitError{exitUsage, fmt.Errorf("%s holds no order: %w", c.Again, err)}
		}
		return env, o, nil
	}
	if c.To == "" || len(c.Amount) == 0 {
		return env, o, &exitError{exitUsage, errors.New("say to whom and how much: robotorq wallet send member:bob 1.25 RT")}
	}
	role, id, _ := strings.Cut(c.To, ":")
	if role != seal.RoleMember && role != seal.RoleOrg || !seal.ValidID(id) {
		return env, o, &exitError{exitUsage, fmt.Errorf("%q is no account: write member:%[2]s or org:%[2]s", c.To, strings.TrimPrefix(c.To, role+":"))}
	}
	amount, err := torq.ParseRT(strings.Join(c.Amount, " "))
	if err != nil {
		return env, o, &exitError{exitUsage, err}
	}
	if c.Expires <= 0 {
		return env, o, &exitError{exitUsage, errors.New("--expires must be longer than nothing")}
	}
	now := time.Now()
	o = ledger.Order{
		Origin: w.known.Origin, From: w.account(), Created: uint64(now.UnixMilli()), Expires: uint64(now.Add(c.Expires).UnixMilli()),
		Operations: []ledger.Operation{{Kind: ledger.OpSend, To: c.To, Amount: uint64(amount), Memo: c.Memo}},
	}
	rand.Read(o.ID[:]) // never fails (crypto/rand)
	env, err = w.keys.Sign(ledger.TypeOrder, o.Encode())
	return env, o, err
}

type walletStatementCmd struct {
	walletFlags
	Format string `enum:"table,csv,json" default:"table" help:"table, csv or json."`
	Limit  int    `default:"50" help:"Lines at most; 0 for all."`
}

// Help is the long help with examples.
func (walletStatementCmd) Help() string {
	return `Examples:
  robotorq wallet statement
  robotorq wallet statement --limit 0 --format csv > statement.csv`
}

func (c *walletStatementCmd) Run(ctx context.Context, std streams, g *global) error {
	w, err := openWallet(std, c.walletFlags)
	if err != nil {
		return err
	}
	if c.Format == "csv" && !g.JSON {
		return w.explain(w.client.StatementCSV(ctx, w.account(), std.Out))
	}
	lines := []api.StatementLine{}
	for page := (api.Page{Limit: api.MaxPage}); ; {
		if c.Limit > 0 {
			page.Limit = min(api.MaxPage, c.Limit-len(lines))
		}
		list, err := w.client.Statement(ctx, w.account(), page)
		if err != nil {
			return w.explain(err)
		}
		lines = append(lines, list.Items...)
		if page.Cursor = list.Next; page.Cursor == "" || c.Limit > 0 && len(lines) >= c.Limit {
			break
		}
	}
	if c.Format == "json" || g.JSON {
		return writeJSON(std.Out, map[string]any{"account": w.account(), "lines": lines})
	}
	t := table(std.Out)
	fmt.Fprintln(t, "time\tkind\tamount\tbalance\tother\tmemo")
	for _, l := range lines {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", localTime(uint64(l.Time)), l.Kind, l.JT.RTGrouped(), l.Balance.RTGrouped(), l.Other, oneLine(l.Memo))
	}
	return t.Flush()
}

// wallet is a member's keys and the node that they speak to.
type wallet struct {
	path   string
	url    string
	keys   *seal.Signer
	client *client.Client
	known  acquaintance
	keysOf *seal.Charter // of the reserve, after meet
}

func (w *wallet) account() string { return w.keys.Role + ":" + w.keys.Name }

func openWallet(std streams, f walletFlags) (*wallet, error) {
	path := walletFile(f.Wallet)
	keys, err := readKeys(std, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no wallet in %s: make one with `robotorq wallet new ID`, or name another with --wallet", path)
	}
	if err != nil {
		return nil, err
	}
	if keys.Role != seal.RoleMember && keys.Role != seal.RoleOrg {
		return nil, fmt.Errorf("%s holds the keys of %s %s, not of a wallet", path, keys.Role, keys.Name)
	}
	key, ok := keys.Key(seal.Ed25519)
	if !ok {
		return nil, fmt.Errorf("%s holds no %s key", path, seal.Ed25519)
	}
	c, err := client.New(f.URL, nil, node.Clock{}, client.WithKey(client.Key{ID: key.KeyID(), Sign: key.Sign}))
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	return &wallet{path: path, url: f.URL, keys: keys, client: c}, nil
}

// explain adds what to do next to what a node refused.
func (w *wallet) explain(err error) error {
	var refused *client.Error
	switch {
	case err == nil:
		return nil
	case client.Is(err, api.CodeUnknownAccount), client.Is(err, api.CodeBadSignature):
		return fmt.Errorf("%w (are these keys enrolled here? `robotorq members enrol` admits a wallet)", err)
	case errors.As(err, &refused):
		return err
	}
	return fmt.Errorf("%w (is the reserve running? --url names another node)", err)
}

// acquaintance is what a wallet remembers of its reserve from the first meeting
// on, so that no other node can have orders signed for it, or receipts believed.
type acquaintance struct {
	Origin string    `json:"origin"`
	Roots  []rootPin `json:"roots"`
}

// meet asks the node who it is, and compares that with what is remembered.
func (w *wallet) meet(ctx context.Context, std streams) error {
	answer, err := w.client.Charter(ctx)
	if err != nil {
		return w.explain(err)
	}
	var charters []seal.Envelope
	for _, raw := range answer.Envelopes {
		var env seal.Envelope
		if err := json.Unmarshal(raw, &env); err != nil {
			return fmt.Errorf("%s: its charter cannot be read: %w", w.url, err)
		}
		charters = append(charters, env)
	}
	path := strings.TrimSuffix(w.path, ".json") + ".reserve"
	data, err := os.ReadFile(path)
	met := err == nil
	if met {
		if err := json.Unmarshal(data, &w.known); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	chain, err := seal.VerifyCharterChain(charters, pinsOf(w.known.Roots))
	if err != nil {
		return fmt.Errorf("%s: its charter does not hold: %w", w.url, err)
	}
	w.keysOf = chain.Latest().Charter
	if met && w.known.Origin == w.keysOf.Name {
		return nil
	}
	if met {
		return fmt.Errorf("%s is the reserve %s, this wallet belongs to %s (%s): nothing was signed", w.url, w.keysOf.Name, w.known.Origin, path)
	}
	w.known.Origin = w.keysOf.Name
	if w.known.Roots, err = rootPins(charters); err != nil {
		return err
	}
	if data, err = json.MarshalIndent(w.known, "", "  "); err != nil {
		return err
	}
	fmt.Fprintf(std.Err, "First order of this wallet: it belongs to the reserve %s from now on.\n", w.known.Origin)
	for _, r := range w.known.Roots {
		fmt.Fprintf(std.Err, "Its root %s: %s. Compare it with one that you have from elsewhere.\n", r.Name, r.Pin)
	}
	return replaceFile(path, append(data, '\n'), 0o600)
}

// deliver sends an order until it is answered, and checks the receipt. When no
// answer comes the order is kept.
func (w *wallet) deliver(ctx context.Context, std streams, env seal.Envelope, o ledger.Order) (api.Receipt, error) {
	id := hex.EncodeToString(o.ID[:])
	body, err := json.Marshal(env)
	if err != nil {
		return api.Receipt{}, err
	}
	var receipt api.Receipt
	for attempt := range 3 {
		if attempt > 0 {
			select {
			case <-time.After(time.Duration(attempt) * time.Second):
			case <-ctx.Done():
			}
		}
		var answered *client.Error
		if receipt, err = w.client.Order(ctx, body, id); err == nil || errors.As(err, &answered) && answered.Status < 500 {
			break
		}
	}
	var answered *client.Error
	switch {
	case err == nil:
		return receipt, w.checkReceipt(receipt, o)
	case client.Is(err, api.CodeBadSignature):
		return receipt, w.explain(err)
	case errors.As(err, &answered) && answered.Status < 500:
		return receipt, err
	}
	path := filepath.Join(filepath.Dir(w.path), "order-"+id+".json")
	if kept := replaceFile(path, append(body, '\n'), 0o600); kept != nil {
		return receipt, errors.Join(err, kept)
	}
	return receipt, fmt.Errorf("whether the order was done is not known: %w. Send it again with `robotorq wallet send --again %s`; it is done once", err, path)
}

// checkReceipt verifies the vault's signature and that it answers this order.
func (w *wallet) checkReceipt(answer api.Receipt, o ledger.Order) error {
	var env seal.Envelope
	if err := json.Unmarshal(answer.Envelope, &env); err != nil {
		return fmt.Errorf("the order was done, but its receipt cannot be read: %w", err)
	}
	r, err := proof.DecodeReceipt(env.Payload)
	if err == nil {
		err = seal.VerifyEnvelope(env, w.keysOf.KeysOf(seal.RoleVault), w.keysOf.Required(seal.RoleVault), r.Issued)
	}
	if err == nil && (env.PayloadType != proof.TypeReceipt || r.Origin != w.known.Origin || r.Order != o.ID || r.Seq != answer.Posting || r.Posting.String() != answer.Hash) {
		err = errors.New("it is for another order")
	}
	if err != nil {
		return fmt.Errorf("the node says that the order was done, but its receipt does not hold: %w", err)
	}
	return nil
}
