package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/node"
	"robotorq.org/reserve/wallet"
	"robotorq.org/reserve/wallet/purse"
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
	Page          walletPageCmd          `cmd:"" help:"Open the wallet's page in a browser; the keys stay here."`
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
		return nil, path, &exitError{exitUsage, fmt.Errorf("there is no wallet in %s: make one with `robotorq wallet new ID`, or name another with --wallet", path)}
	}
	return w, path, err
}

// unlock opens the wallet's seed with the passphrase of the file, of the environment, or
// one that is asked for.
func (f walletFlags) unlock(std streams, w *wallet.Wallet, path string) error {
	if !w.Locked() {
		return nil
	}
	_, err := f.unlockWith(std, w, path)
	return err
}

// openWallet opens an account with its keys.
func openWallet(std streams, f walletFlags) (*purse.Purse, error) {
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
	return newPurse(purse.Options{Path: path, File: w, Account: account.Name, URL: f.URL, Clock: node.Clock{}})
}

func newPurse(o purse.Options) (*purse.Purse, error) {
	p, err := purse.New(o)
	var address *purse.AddressError
	if errors.As(err, &address) {
		return nil, &exitError{exitUsage, err}
	}
	return p, err
}

// meet has a wallet meet its reserve, and says so the first time.
func meet(ctx context.Context, std streams, w *purse.Purse) error {
	m, err := w.Meet(ctx)
	if m == nil {
		return err
	}
	fmt.Fprintf(std.Err, "First order of this wallet: it belongs to the reserve %s from now on.\n", m.Origin)
	for _, r := range m.Roots {
		fmt.Fprintf(std.Err, "Its root %s: %s. Compare it with one that you have from elsewhere.\n", r.Name, r.Pin)
	}
	return err
}

// order is a fresh order of a wallet for the reserve that it has met.
func order(w *purse.Purse, expires time.Duration, operations ...ledger.Operation) (ledger.Order, error) {
	if expires <= 0 {
		return ledger.Order{}, &exitError{exitUsage, errors.New("--expires must be longer than nothing")}
	}
	o, err := w.Order(expires, operations...)
	if err != nil {
		return o, &exitError{exitUsage, err}
	}
	return o, nil
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

func doneOf(from string, r api.Receipt) done {
	return done{r.OrderID, from, r.Posting, r.Hash, r.Repeated, r.Envelope}
}

// execute signs an order, sends it and keeps its receipt.
func execute(ctx context.Context, std streams, w *purse.Purse, expires time.Duration, operations ...ledger.Operation) (done, error) {
	if err := meet(ctx, std, w); err != nil {
		return done{}, err
	}
	o, err := order(w, expires, operations...)
	if err != nil {
		return done{}, err
	}
	env, err := w.Sign(o)
	if err != nil {
		return done{}, err
	}
	r, err := w.Deliver(ctx, env, o)
	return doneOf(o.From, r), err
}

// insist asks a node again while it does not answer.
func insist[T any](ctx context.Context, call func() (T, error)) (T, error) {
	return purse.Insist(ctx, node.Clock{}, call)
}
