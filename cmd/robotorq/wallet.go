package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
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
	"robotorq.org/reserve/wallet"
)

type walletCmd struct {
	New           walletNewCmd           `cmd:"" help:"Make a wallet: 24 words, and the request that a registrar admits."`
	Restore       walletRestoreCmd       `cmd:"" help:"Make a wallet again from its 24 words."`
	Watch         walletWatchCmd         `cmd:"" help:"Watch an account whose keys are elsewhere."`
	Add           walletAddCmd           `cmd:"" help:"Add an account to the wallet."`
	Accounts      walletAccountsCmd      `cmd:"" help:"The wallet's accounts."`
	Request       walletRequestCmd       `cmd:"" help:"Print an account's request for a registrar again."`
	Backup        walletBackupCmd        `cmd:"" help:"Write the 24 words to a file."`
	Book          walletBookCmd          `cmd:"" help:"The address book."`
	Balance       walletBalanceCmd       `cmd:"" help:"What the wallet holds now."`
	Send          walletSendCmd          `cmd:"" help:"Send money to a member or an organisation."`
	Save          walletSaveCmd          `cmd:"" help:"Move money into savings: no demurrage, not at hand."`
	Leave         walletLeaveCmd         `cmd:"" help:"Give notice for savings."`
	Object        walletObjectCmd        `cmd:"" help:"Object to a rebinding of the account to other keys."`
	Statement     walletStatementCmd     `cmd:"" help:"The wallet's movements, newest first."`
	CheckSolvency walletCheckSolvencyCmd `cmd:"" help:"Check that the balance is counted in what the reserve says it owes."`
	CheckReceipts walletCheckReceiptsCmd `cmd:"" help:"Check the kept receipts against the books and their logged head."`
}

// walletFlags say which wallet and account, and which node.
type walletFlags struct {
	Wallet         string `placeholder:"FILE" help:"The wallet's file (default: robotorq/wallet.json among your configuration)."`
	Account        string `placeholder:"ACCOUNT" help:"Which of the wallet's accounts, where it has several: member:ID or org:ID."`
	PassphraseFile string `placeholder:"FILE" help:"File with the wallet's passphrase in its first line (else ROBOTORQ_PASSPHRASE, else it is asked for)."`
	URL            string `name:"url" placeholder:"URL" default:"http://127.0.0.1:8080" help:"The reserve's node."`
}

// walletFile is where the wallet lies when the flag does not say.
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

// open reads the wallet's file; its seed stays locked.
func (f walletFlags) open() (*wallet.Wallet, string, error) {
	path := walletFile(f.Wallet)
	w, err := wallet.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, path, fmt.Errorf("there is no wallet in %s: make one with `robotorq wallet new ID`, or name another with --wallet", path)
	}
	return w, path, err
}

// unlock opens the wallet's seed with the passphrase of the file, of the environment, or
// one that is asked for.
func (f walletFlags) unlock(std streams, w *wallet.Wallet, path string) error {
	if !w.Locked() {
		return nil
	}
	text, err := givenPassphrase(f.PassphraseFile)
	if err != nil {
		return err
	}
	if text == "" {
		if !isTerminal(std.In) {
			return fmt.Errorf("%s is encrypted: set %s, or name a --passphrase-file", path, passphraseVariable)
		}
		if text, err = ask(std, "Passphrase of "+path+": "); err != nil {
			return err
		}
	}
	return w.Unlock(text)
}

// purse is one account of a member's wallet and the node that it speaks to.
type purse struct {
	path   string
	url    string
	file   *wallet.Wallet
	keys   *seal.Signer
	client *client.Client
	known  acquaintance
	keysOf *seal.Charter // of the reserve, after meet
}

func (w *purse) account() string { return w.keys.Role + ":" + w.keys.Name }

// openWallet opens an account with its keys.
func openWallet(std streams, f walletFlags) (*purse, error) {
	w, path, err := f.open()
	if err != nil {
		return nil, err
	}
	account, err := w.Account(f.Account)
	if err != nil {
		return nil, &exitError{exitUsage, fmt.Errorf("%w (--account; `robotorq wallet accounts` lists them)", err)}
	}
	if account.WatchOnly() {
		return nil, fmt.Errorf("%s is only watched by %s: its keys are elsewhere", account.Name, path)
	}
	if err := f.unlock(std, w, path); err != nil {
		return nil, err
	}
	keys, err := w.Signer(account.Name)
	if err != nil {
		return nil, err
	}
	key, ok := keys.Key(seal.Ed25519)
	if !ok {
		return nil, fmt.Errorf("%s holds no %s key of %s", path, seal.Ed25519, account.Name)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = time.Minute
	c, err := client.New(f.URL, &http.Client{Transport: once{transport}}, node.Clock{}, client.WithKey(client.Key{ID: key.KeyID(), Sign: key.Sign}))
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	return &purse{path: path, url: f.URL, file: w, keys: keys, client: c}, nil
}

// explain adds what to do next to what a node refused.
func (w *purse) explain(err error) error {
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

// beside is a file that belongs to the wallet.
func (w *purse) beside(suffix string) string { return strings.TrimSuffix(w.path, ".json") + suffix }

// meet asks the node who it is, and compares that with what is remembered.
func (w *purse) meet(ctx context.Context, std streams) error {
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
	path := w.beside(".reserve")
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
	if met && w.known.Origin != w.keysOf.Name {
		return fmt.Errorf("%s is the reserve %s, this wallet belongs to %s (%s): nothing was signed", w.url, w.keysOf.Name, w.known.Origin, path)
	}
	if err := w.bind(); err != nil || met {
		return err
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

// bind writes the reserve into the wallet's file, once.
func (w *purse) bind() error {
	if w.file.Origin() == w.keysOf.Name {
		return nil
	}
	if err := w.file.Bind(w.keysOf.Name); err != nil {
		return fmt.Errorf("%w: nothing was signed", err)
	}
	return wallet.Save(w.path, w.file)
}

// order signs an order for one's reserve.
func (w *purse) order(expires time.Duration, operations ...ledger.Operation) (env seal.Envelope, o ledger.Order, err error) {
	if expires <= 0 {
		return env, o, &exitError{exitUsage, errors.New("--expires must be longer than nothing")}
	}
	now := time.Now()
	o, err = wallet.NewOrder(w.known.Origin, w.account(), uint64(now.UnixMilli()), uint64(now.Add(expires).UnixMilli()), operations...)
	if err != nil {
		return env, o, &exitError{exitUsage, err}
	}
	env, err = wallet.SignOrder(o, w.keys)
	return env, o, err
}

// done is the answer of every order.
type done struct {
	OrderID  string          `json:"order_id"`
	From     string          `json:"from"`
	Posting  uint64          `json:"posting"`
	Hash     string          `json:"posting_hash"`
	Repeated bool            `json:"repeated"`
	Receipt  json.RawMessage `json:"receipt"`
}

// execute signs an order, sends it and keeps its receipt.
func (w *purse) execute(ctx context.Context, std streams, expires time.Duration, operations ...ledger.Operation) (done, error) {
	if err := w.meet(ctx, std); err != nil {
		return done{}, err
	}
	env, o, err := w.order(expires, operations...)
	if err != nil {
		return done{}, err
	}
	r, err := w.deliver(ctx, std, env, o)
	return done{r.OrderID, o.From, r.Posting, r.Hash, r.Repeated, r.Envelope}, err
}

// deliver sends an order until it is answered, checks the receipt and keeps it. When no
// answer comes the order is kept.
func (w *purse) deliver(ctx context.Context, std streams, env seal.Envelope, o ledger.Order) (api.Receipt, error) {
	id := hex.EncodeToString(o.ID[:])
	body, err := json.Marshal(env)
	if err != nil {
		return api.Receipt{}, err
	}
	receipt, err := insist(ctx, func() (api.Receipt, error) { return w.client.Order(ctx, body, id) })
	switch {
	case err == nil:
		if err := w.checkReceipt(receipt, o); err != nil {
			return receipt, err
		}
		return receipt, w.keepReceipt(keptReceipt{Account: o.From, Order: env, Receipt: receipt.Envelope})
	case wasRefused(err) && client.Is(err, api.CodeBadSignature):
		return receipt, w.explain(err)
	case wasRefused(err):
		return receipt, err
	}
	path := filepath.Join(filepath.Dir(w.path), "order-"+id+".json")
	if kept := replaceFile(path, append(body, '\n'), 0o600); kept != nil {
		return receipt, errors.Join(err, kept)
	}
	return receipt, fmt.Errorf("whether the order was done is not known: %w. Send it again with `robotorq wallet send --again %s`; it is done once", err, path)
}

// doubtError is what a node said after an attempt that was not answered: that attempt may
// have been done, whatever is said of a later one.
type doubtError struct{ err error }

// Error implements error.
func (e *doubtError) Error() string {
	return e.err.Error() + " (an earlier attempt was not answered: what it did is not known)"
}

// Unwrap returns what the node said.
func (e *doubtError) Unwrap() error { return e.err }

// answeredBy reports whether err is a node's own no: a problem document with a code. A
// status without one may be a proxy's, which does not know what the node did.
func answeredBy(err error) bool {
	var p *client.Error
	return errors.As(err, &p) && p.Status >= 400 && p.Status < 500 && p.Code != api.CodeInternal
}

// wasRefused reports whether nothing can have been done: a node said no to the first
// attempt. Only then may an order be forgotten, or a secret that it names.
func wasRefused(err error) bool {
	var doubt *doubtError
	return answeredBy(err) && !errors.As(err, &doubt)
}

// once sends a request once. The standard transport sends one with an Idempotency-Key
// again by itself when a connection breaks off, and that answer would pass for the first.
type once struct{ http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (o once) RoundTrip(q *http.Request) (*http.Response, error) {
	single := *q
	single.GetBody = nil // without it nothing can be sent again
	return o.RoundTripper.RoundTrip(&single)
}

// insist asks a node again while it does not answer. A no after that is a [doubtError].
func insist[T any](ctx context.Context, call func() (T, error)) (answer T, err error) {
	for attempt := range 3 {
		if attempt > 0 {
			select {
			case <-time.After(time.Duration(attempt) * time.Second):
			case <-ctx.Done():
			}
		}
		switch answer, err = call(); {
		case err == nil:
			return answer, nil
		case answeredBy(err) && attempt > 0:
			return answer, &doubtError{err}
		case answeredBy(err):
			return answer, err
		}
	}
	return answer, err
}

// checkReceipt verifies the vault's signature and that it answers this order.
func (w *purse) checkReceipt(answer api.Receipt, o ledger.Order) error {
	r, err := w.readReceipt(answer.Envelope, o)
	if err == nil && (r.Seq != answer.Posting || r.Posting.String() != answer.Hash) {
		err = errors.New("it is for another order")
	}
	if err != nil {
		return fmt.Errorf("the node says that the order was done, but its receipt does not hold: %w", err)
	}
	return nil
}

// readReceipt verifies a receipt of an order.
func (w *purse) readReceipt(document json.RawMessage, o ledger.Order) (proof.Receipt, error) {
	var env seal.Envelope
	if err := json.Unmarshal(document, &env); err != nil {
		return proof.Receipt{}, fmt.Errorf("it cannot be read: %w", err)
	}
	r, err := proof.DecodeReceipt(env.Payload)
	if err == nil {
		err = seal.VerifyEnvelope(env, w.keysOf.KeysOf(seal.RoleVault), w.keysOf.Required(seal.RoleVault), r.Issued)
	}
	if err == nil && (env.PayloadType != proof.TypeReceipt || r.Origin != w.known.Origin || r.Order != o.ID) {
		err = errors.New("it is for another order")
	}
	return r, err
}

// keptReceipt is a line of the wallet's file of receipts: what was ordered and what the
// vault said.
type keptReceipt struct {
	Account string          `json:"account"`
	Order   seal.Envelope   `json:"order"`
	Receipt json.RawMessage `json:"receipt"`
}

// keepReceipt adds a receipt to those that are kept.
func (w *purse) keepReceipt(k keptReceipt) (err error) {
	var compact bytes.Buffer
	if err := json.Compact(&compact, k.Receipt); err != nil {
		return err
	}
	k.Receipt = compact.Bytes()
	line, err := json.Marshal(k)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(w.beside(".receipts"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("the order was done, but its receipt cannot be kept: %w", err)
	}
	_, err = f.Write(append(line, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("the order was done, but its receipt cannot be kept: %w", err)
	}
	return nil
}
