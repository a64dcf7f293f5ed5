package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/wallet"
)

type walletNewCmd struct {
	ID             string `arg:"" help:"Id that the member will have: a-z, 0-9 and '-', at most 63."`
	Org            bool   `help:"The wallet of an enterprise, a robot's owner or a service, not of a person."`
	Wallet         string `placeholder:"FILE" help:"File to make (default: robotorq/wallet.json among your configuration)."`
	Backup         string `placeholder:"FILE" help:"Write the 24 words to this new file instead of showing them."`
	Encrypt        bool   `help:"Ask for a passphrase."`
	PassphraseFile string `placeholder:"FILE" help:"File with the passphrase in its first line (else ROBOTORQ_PASSPHRASE encrypts without asking)."`
}

// Help is the long help with an example.
func (walletNewCmd) Help() string {
	return `On a terminal the 24 words are shown once and three of them asked for again: whoever has
the words has the wallet. Elsewhere --backup writes them to a file; without it they can be
had with robotorq wallet backup. The request that is printed holds no secret; it goes to a
registrar.

Examples:
  robotorq wallet new ada > ada.request
  robotorq wallet new print-works --org --wallet works.json --backup works.words
  ROBOTORQ_PASSPHRASE=… robotorq wallet new ada --backup /media/stick/ada.words > request.json`
}

// admissionRequest is what a wallet's owner sends to a registrar.
type admissionRequest struct {
	Member string             `json:"member,omitempty"`
	Org    string             `json:"org,omitempty"`
	Keys   []api.AdmissionKey `json:"keys"`
}

// requestOf is the request of an account.
func requestOf(a wallet.Account) (r admissionRequest, err error) {
	role, id, err := wallet.SplitAccount(a.Name)
	if err != nil {
		return r, err
	}
	if role == seal.RoleOrg {
		r.Org = id
	} else {
		r.Member = id
	}
	for _, k := range a.Keys {
		r.Keys = append(r.Keys, api.AdmissionKey{Alg: k.Alg, Public: k.Public})
	}
	return r, nil
}

// accountName is the account of an id.
func accountName(id string, org bool) (string, error) {
	if !seal.ValidID(id) {
		return "", &exitError{exitUsage, fmt.Errorf("%q is not an id: 1 to 63 of a-z, 0-9 and '-', not beginning with '-'", id)}
	}
	if org {
		return seal.RoleOrg + ":" + id, nil
	}
	return seal.RoleMember + ":" + id, nil
}

// newWalletFile says where a new wallet goes, unless there is one.
func newWalletFile(flag string) (string, error) {
	path := walletFile(flag)
	if _, err := os.Stat(path); err == nil {
		return path, fmt.Errorf("%s exists already, and a wallet's keys are never written over: choose another --wallet", path)
	}
	return path, os.MkdirAll(filepath.Dir(path), 0o700)
}

func (c *walletNewCmd) Run(std streams, g *global) error {
	account, err := accountName(c.ID, c.Org)
	if err != nil {
		return err
	}
	path, err := newWalletFile(c.Wallet)
	if err != nil {
		return err
	}
	text, err := newPassphrase(std, c.Encrypt, c.PassphraseFile)
	if err != nil {
		return err
	}
	seed, err := wallet.NewSeed()
	if err != nil {
		return err
	}
	switch {
	case c.Backup != "":
		err = writeWords(c.Backup, seed.Words())
	case isTerminal(std.In) && isTerminal(std.Err):
		err = showWords(std, seed.Words())
	}
	if err != nil {
		return err
	}
	a, err := makeWallet(path, text, seed, account)
	if err != nil {
		return err
	}
	request, err := requestOf(a)
	if err != nil {
		return err
	}
	if !g.JSON {
		fmt.Fprintf(std.Err, "Made the wallet %s in %s.\nSend what follows to a registrar; `robotorq members enrol FILE` admits it.\n", account, path)
	}
	if c.Backup == "" && !isTerminal(std.In) {
		fmt.Fprintf(std.Err, "It has no backup yet: `robotorq wallet backup FILE --wallet %s` writes its 24 words.\n", path)
	}
	return writeJSON(std.Out, request)
}

// makeWallet writes a wallet with its first account.
func makeWallet(path, passphrase string, seed wallet.Seed, account string) (wallet.Account, error) {
	w, err := wallet.New("", seed)
	if err != nil {
		return wallet.Account{}, err
	}
	if err := w.SetPassphrase(passphrase); err != nil {
		return wallet.Account{}, err
	}
	a, err := w.Add(account)
	if err != nil {
		return a, err
	}
	return a, wallet.Create(path, passphrase, w)
}

// writeWords writes backup words to a new private file.
func writeWords(path, words string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("the words cannot be written to %s: %w (a file that is there is never written over)", path, err)
	}
	_, err = f.WriteString(words + "\n")
	return errors.Join(err, f.Sync(), f.Close())
}

// showWords shows the words and asks for three of them.
func showWords(std streams, words string) error {
	list := strings.Fields(words)
	fmt.Fprintln(std.Err, "Write these words down, in their order. Whoever has them has the wallet; without them")
	fmt.Fprintln(std.Err, "a lost file is lost. They are not shown again.")
	for i, word := range list {
		fmt.Fprintf(std.Err, "%4d %-10s", i+1, word)
		if i%4 == 3 {
			fmt.Fprintln(std.Err)
		}
	}
	places, err := somePlaces(3, len(list))
	if err != nil {
		return err
	}
	for _, at := range places {
		fmt.Fprintf(std.Err, "Word %d: ", at+1)
		line, err := readLine(std.In)
		if typed := strings.ToLower(strings.TrimSpace(line)); err != nil || typed != list[at] {
			return fmt.Errorf("that is not word %d; nothing was written. Begin again, and write the words down", at+1)
		}
	}
	return nil
}

// somePlaces are n different places below most, ascending.
func somePlaces(n, most int) (places []int, err error) {
	for len(places) < n {
		at, err := rand.Int(rand.Reader, big.NewInt(int64(most)))
		if err != nil {
			return nil, err
		}
		if i := int(at.Int64()); !slices.Contains(places, i) {
			places = append(places, i)
		}
	}
	slices.Sort(places)
	return places, nil
}

type walletRestoreCmd struct {
	ID             []string `arg:"" help:"Ids of the accounts, in the order in which they were made: ada, or org:works."`
	Words          string   `placeholder:"FILE" help:"File with the 24 words; - or none: they are read from standard input."`
	Wallet         string   `placeholder:"FILE" help:"File to make."`
	Encrypt        bool     `help:"Ask for a passphrase."`
	PassphraseFile string   `placeholder:"FILE" help:"File with the passphrase in its first line (else ROBOTORQ_PASSPHRASE)."`
}

// Help is the long help with examples.
func (walletRestoreCmd) Help() string {
	return `Words may be cut to their first four letters. The accounts get their old keys when they
are named in their old order.

Examples:
  robotorq wallet restore ada
  robotorq wallet restore ada org:print-works --words backup.words --wallet restored.json`
}

func (c *walletRestoreCmd) Run(std streams, g *global) error {
	path, err := newWalletFile(c.Wallet)
	if err != nil {
		return err
	}
	words := ""
	if c.Words == "" && isTerminal(std.In) {
		words, err = ask(std, "The 24 words: ")
	} else {
		var data []byte
		data, err = readInput(std, orStandardInput(c.Words))
		words = string(data)
	}
	if err != nil {
		return err
	}
	seed, err := wallet.ParseWords(words)
	if err != nil {
		return err
	}
	text, err := newPassphrase(std, c.Encrypt, c.PassphraseFile)
	if err != nil {
		return err
	}
	w, err := wallet.New("", seed)
	if err != nil {
		return err
	}
	if err := w.SetPassphrase(text); err != nil {
		return err
	}
	for _, id := range c.ID {
		if _, err := w.Add(longAccount(id)); err != nil {
			return &exitError{exitUsage, err}
		}
	}
	if err := wallet.Create(path, text, w); err != nil {
		return err
	}
	return printAccounts(std, g, w, path)
}

func orStandardInput(name string) string {
	if name == "" {
		return "-"
	}
	return name
}

// longAccount is the account that an id stands for: a member's unless it says.
func longAccount(id string) string {
	if strings.Contains(id, ":") {
		return id
	}
	return seal.RoleMember + ":" + id
}

type walletWatchCmd struct {
	walletFlags
	Watched string `arg:"" name:"account" help:"member:ID or org:ID."`
}

// Help is the long help with an example.
func (walletWatchCmd) Help() string {
	return `The account is added to the wallet (which is made if there is none) without keys. Its
balance and statement are shown with a token of role portal or admin (ROBOTORQ_TOKEN).

Example:
  robotorq wallet watch org:print-works --wallet watching.json`
}

func (c *walletWatchCmd) Run(std streams, g *global) error {
	path := walletFile(c.Wallet)
	w, err := wallet.Open(path)
	fresh := errors.Is(err, os.ErrNotExist)
	if fresh {
		w, err = wallet.NewWatchOnly("")
	}
	if err != nil {
		return err
	}
	if _, err := w.Watch(c.Watched, nil); err != nil {
		return &exitError{exitUsage, err}
	}
	if fresh {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		err = wallet.Create(path, "", w)
	} else {
		err = wallet.Save(path, w)
	}
	if err != nil {
		return err
	}
	return printAccounts(std, g, w, path)
}

type walletAddCmd struct {
	walletFlags
	ID  string `arg:"" help:"Id of the new account."`
	Org bool   `help:"An organisation's account."`
}

// Help is the long help with an example.
func (walletAddCmd) Help() string {
	return `The new account's keys follow from the same 24 words. Its request is printed.

Example:
  robotorq wallet add print-works --org > works.request`
}

func (c *walletAddCmd) Run(std streams, _ *global) error {
	account, err := accountName(c.ID, c.Org)
	if err != nil {
		return err
	}
	w, path, err := c.open()
	if err != nil {
		return err
	}
	if err := c.unlock(std, w, path); err != nil {
		return err
	}
	a, err := w.Add(account)
	if err != nil {
		return err
	}
	if err := wallet.Save(path, w); err != nil {
		return err
	}
	request, err := requestOf(a)
	if err != nil {
		return err
	}
	return writeJSON(std.Out, request)
}

type walletAccountsCmd struct {
	walletFlags
}

// Help is the long help with an example.
func (walletAccountsCmd) Help() string {
	return `Example:
  robotorq wallet accounts --json`
}

func (c *walletAccountsCmd) Run(std streams, g *global) error {
	w, path, err := c.open()
	if err != nil {
		return err
	}
	return printAccounts(std, g, w, path)
}

// accountLine is an account of a wallet.
type accountLine struct {
	Account   string   `json:"account"`
	WatchOnly bool     `json:"watch_only"`
	Keys      []string `json:"keys"` // ids
}

func printAccounts(std streams, g *global, w *wallet.Wallet, path string) error {
	lines := []accountLine{}
	for _, a := range w.Accounts() {
		l := accountLine{Account: a.Name, WatchOnly: a.WatchOnly(), Keys: []string{}}
		for _, k := range a.Keys {
			l.Keys = append(l.Keys, k.KeyID)
		}
		lines = append(lines, l)
	}
	if g.JSON {
		return writeJSON(std.Out, map[string]any{"wallet": path, "reserve": w.Origin(), "encrypted": w.Locked(), "accounts": lines})
	}
	t := table(std.Out)
	for _, l := range lines {
		how := joined(l.Keys)
		if l.WatchOnly {
			how = "watched"
		}
		fmt.Fprintf(t, "%s\t%s\n", l.Account, how)
	}
	return t.Flush()
}

type walletRequestCmd struct {
	walletFlags
}

// Help is the long help with an example.
func (walletRequestCmd) Help() string {
	return `Example:
  robotorq wallet request --account org:print-works > works.request`
}

func (c *walletRequestCmd) Run(std streams, _ *global) error {
	w, _, err := c.open()
	if err != nil {
		return err
	}
	a, err := w.Account(c.Account)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	if len(a.Keys) == 0 {
		return fmt.Errorf("%s is only watched: its keys are elsewhere", a.Name)
	}
	request, err := requestOf(a)
	if err != nil {
		return err
	}
	return writeJSON(std.Out, request)
}

type walletBackupCmd struct {
	walletFlags
	File string `arg:"" help:"New file for the 24 words."`
}

// Help is the long help with an example.
func (walletBackupCmd) Help() string {
	return `Whoever reads the file has the wallet: keep it apart from the wallet and from any
network.

Example:
  robotorq wallet backup /media/stick/ada.words`
}

func (c *walletBackupCmd) Run(std streams, g *global) error {
	w, path, err := c.open()
	if err != nil {
		return err
	}
	if err := c.unlock(std, w, path); err != nil {
		return err
	}
	words, err := w.Words()
	if err != nil {
		return err
	}
	if err := writeWords(c.File, words); err != nil {
		return err
	}
	if g.JSON {
		return writeJSON(std.Out, map[string]string{"backup": c.File})
	}
	_, err = fmt.Fprintf(std.Out, "Wrote the 24 words to %s.\n", c.File)
	return err
}

type walletBookCmd struct {
	walletFlags
	Name   string `arg:"" optional:"" help:"Name to remember or to forget."`
	To     string `arg:"" optional:"" help:"Account that it stands for."`
	Forget bool   `help:"Forget the name."`
}

// Help is the long help with examples.
func (walletBookCmd) Help() string {
	return `A name of the address book may be used wherever an account is wanted.

Examples:
  robotorq wallet book
  robotorq wallet book "Bob the baker" member:bob
  robotorq wallet book "Bob the baker" --forget`
}

func (c *walletBookCmd) Run(std streams, g *global) error {
	w, path, err := c.open()
	if err != nil {
		return err
	}
	switch {
	case c.Forget:
		err = w.Forget(c.Name)
	case c.Name != "" && c.To == "":
		return &exitError{exitUsage, errors.New("say which account the name stands for: robotorq wallet book NAME member:bob")}
	case c.Name != "":
		err = w.Remember(c.Name, c.To)
	}
	if err != nil {
		return &exitError{exitUsage, err}
	}
	if c.Name != "" {
		if err := wallet.Save(path, w); err != nil {
			return err
		}
	}
	if g.JSON {
		return writeJSON(std.Out, map[string]any{"contacts": append([]wallet.Contact{}, w.Contacts()...)})
	}
	t := table(std.Out)
	for _, e := range w.Contacts() {
		fmt.Fprintf(t, "%s\t%s\n", e.Name, e.Account)
	}
	return t.Flush()
}
