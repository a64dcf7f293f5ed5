// Package purse is one account of a member's wallet together with the node that it
// speaks to: what the commands and the member's page do alike.
//
//	purse     the wallet's file, its reserve, the first meeting
//	order     orders signed, delivered until they are answered, kept while in doubt
//	insist    what an answer, a no and no answer mean
//	receipt   the vault's receipts: checked, kept, compared with the books
//	statement movements, as lines and as CSV
//	solvency  what the account is owed, and whether the reserve counts it
//	bond      bearer bonds issued, fetched, asked after, redeemed and reissued
//
// # What it trusts
//
// The member's machine, the wallet's file and the passphrase that opened it, and of the
// reserve only what it signs: receipts are verified against the charter, and the charter
// against the roots that the wallet remembers from the first meeting on. No other reserve
// gets an order signed.
//
// # What survives a crash
//
// A bond's secret is on disk before anything is bound to it, and an order before it is
// sent: one whose answer did not come lies beside the wallet and may be sent again; its id
// makes that safe. A
// receipt is on disk before an order counts as done here. Files are written whole.
//
// Time comes through the clock that is handed in. The package implements the wallet's
// part of the ledger specification, sections 1, 2 and 4.
package purse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/client"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/wallet"
)

// Options say which account of which wallet, and which node.
type Options struct {
	Path    string         // of the wallet's file
	File    *wallet.Wallet // read from there, unlocked when the account has keys
	Account string         // "" where there is only one
	URL     string         // of the node
	Token   string         // of role portal or admin, to read an account that is only watched
	Clock   api.Clock
}

// Purse is an account and its node. It may be used concurrently.
type Purse struct {
	path, url, account string
	keys               *seal.Signer // nil: only watched
	client             *client.Client
	clock              api.Clock

	mu      sync.Mutex
	file    *wallet.Wallet
	known   acquaintance
	charter *seal.Charter // of the reserve, after Meet
}

// New opens an account. An account that is only watched can be read with a token and
// signs nothing. The error is a *wallet.Error, or says what is wrong with the address.
func New(o Options) (*Purse, error) {
	account, err := o.File.Account(o.Account)
	if err != nil {
		return nil, err
	}
	p := &Purse{path: o.Path, url: o.URL, account: account.Name, clock: o.Clock, file: o.File}
	options := []client.Option{client.WithToken(o.Token)}
	if !account.WatchOnly() {
		if p.keys, err = o.File.Signer(account.Name); err != nil {
			return nil, err
		}
		key, ok := p.keys.Key(seal.Ed25519)
		if !ok {
			return nil, &wallet.Error{Code: wallet.CodeKey, Detail: fmt.Sprintf("%s holds no %s key of %s", o.Path, seal.Ed25519, account.Name)}
		}
		options = []client.Option{client.WithKey(client.Key{ID: key.KeyID(), Sign: key.Sign})}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = time.Minute
	if p.client, err = client.New(o.URL, &http.Client{Transport: once{transport}}, o.Clock, options...); err != nil {
		return nil, &AddressError{err}
	}
	return p, nil
}

// AddressError is an address of a node that cannot be one.
type AddressError struct{ Err error }

// Error implements error.
func (e *AddressError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *AddressError) Unwrap() error { return e.Err }

// Account is member:<id> or org:<id>.
func (p *Purse) Account() string { return p.account }

// WatchOnly reports whether the keys are elsewhere: nothing can be signed.
func (p *Purse) WatchOnly() bool { return p.keys == nil }

// Keys are the account's keys, nil when it is only watched.
func (p *Purse) Keys() *seal.Signer { return p.keys }

// Path is the wallet's file.
func (p *Purse) Path() string { return p.path }

// URL is the address of the node.
func (p *Purse) URL() string { return p.url }

// Client speaks to the node with the account's key, or the token.
func (p *Purse) Client() *client.Client { return p.client }

// Origin is the name of the reserve's log, "" before they have met.
func (p *Purse) Origin() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known.Origin == "" {
		return p.file.Origin()
	}
	return p.known.Origin
}

// beside is a file that belongs to the wallet.
func (p *Purse) beside(suffix string) string { return strings.TrimSuffix(p.path, ".json") + suffix }

// Root is a root key of a charter as --root takes it.
type Root struct {
	Name string      `json:"name"`
	Pin  merkle.Hash `json:"pin"` // seal.KeyHash
}

// acquaintance is what a wallet remembers of its reserve from the first meeting on, so
// that no other node can have orders signed for it, or receipts believed.
type acquaintance struct {
	Origin string `json:"origin"`
	Roots  []Root `json:"roots"`
}

// RootsOf are the roots' pins of the newest of some charters.
func RootsOf(charters []seal.Envelope) ([]Root, error) {
	roots := []Root{}
	if len(charters) == 0 {
		return roots, nil
	}
	c, err := seal.DecodeCharter(charters[len(charters)-1].Payload)
	if err != nil {
		return roots, err
	}
	for _, k := range c.KeysOf(seal.RoleRoot) {
		if k.Alg == seal.SLHDSA128s && k.NotAfterMS == nil {
			roots = append(roots, Root{k.Name, seal.KeyHash(k.Alg, k.Public)})
		}
	}
	return roots, nil
}

// Pins are roots as verifiers take them.
func Pins(roots []Root) []merkle.Hash {
	pins := make([]merkle.Hash, len(roots))
	for i, r := range roots {
		pins[i] = r.Pin
	}
	return pins
}

// Meeting is what a wallet remembers from the first meeting with its reserve.
type Meeting struct {
	Origin string
	Roots  []Root // to be compared with ones that the member has from elsewhere
}

// Meet asks the node who it is and compares that with what is remembered. The meeting is
// not nil when it was the first; then the wallet belongs to that reserve from now on.
func (p *Purse) Meet(ctx context.Context) (*Meeting, error) {
	answer, err := p.client.Charter(ctx)
	if err != nil {
		return nil, Explain(err)
	}
	charters, err := envelopes(answer)
	if err != nil {
		return nil, fmt.Errorf("%s: its charter cannot be read: %w", p.url, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	met, err := p.recall()
	if err != nil {
		return nil, err
	}
	chain, err := seal.VerifyCharterChain(charters, Pins(p.known.Roots))
	if err != nil {
		return nil, fmt.Errorf("%s: its charter does not hold: %w", p.url, err)
	}
	charter := chain.Latest().Charter
	if met && p.known.Origin != charter.Name {
		return nil, fmt.Errorf("%s is the reserve %s, this wallet belongs to %s (%s): nothing was signed", p.url, charter.Name, p.known.Origin, p.beside(".reserve"))
	}
	if err := p.bind(charter.Name); err != nil {
		return nil, err
	}
	p.charter = charter
	if met {
		return nil, nil
	}
	p.known.Origin = charter.Name
	if p.known.Roots, err = RootsOf(charters); err != nil {
		return nil, err
	}
	data, err := json.MarshalIndent(p.known, "", "  ")
	if err != nil {
		return nil, err
	}
	return &Meeting{p.known.Origin, p.known.Roots}, wallet.Replace(p.beside(".reserve"), append(data, '\n'), 0o600)
}

// envelopes are the charters of an answer.
func envelopes(answer api.Charter) (charters []seal.Envelope, err error) {
	for _, raw := range answer.Envelopes {
		var env seal.Envelope
		if err := json.Unmarshal(raw, &env); err != nil {
			return nil, err
		}
		charters = append(charters, env)
	}
	return charters, nil
}

// recall reads what is remembered; false when they have not met.
func (p *Purse) recall() (met bool, err error) {
	path := p.beside(".reserve")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var known acquaintance
	if err := json.Unmarshal(data, &known); err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	p.known = known
	return true, nil
}

// bind writes the reserve into the wallet's file, once.
func (p *Purse) bind(origin string) error {
	if p.file.Origin() == origin {
		return nil
	}
	if err := p.file.Bind(origin); err != nil {
		return fmt.Errorf("%w: nothing was signed", err)
	}
	return wallet.Save(p.path, p.file)
}

// Roots are the pins that the wallet remembers of its reserve; none before they have met.
func (p *Purse) Roots() ([]merkle.Hash, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := p.recall()
	return Pins(p.known.Roots), err
}

// Explain adds what to do next to what a node said.
func Explain(err error) error {
	var refused *client.Error
	var broken *json.SyntaxError
	var other *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case client.Is(err, api.CodeUnknownAccount), client.Is(err, api.CodeBadSignature):
		return fmt.Errorf("%w (are these keys enrolled here? `robotorq members enrol` admits a wallet)", err)
	case errors.As(err, &refused), proof.AsFault(err) != nil:
		return err
	case errors.As(err, &broken), errors.As(err, &other):
		return fmt.Errorf("the node's answer cannot be read: %w (is it a RoboTorq reserve of this version? --url names another node)", err)
	}
	return fmt.Errorf("%w (is the reserve running? --url names another node)", err)
}

// Contacts is the address book as the file has it now, whoever wrote it.
func (p *Purse) Contacts() ([]wallet.Contact, error) {
	w, err := wallet.Open(p.path)
	if err != nil {
		return nil, err
	}
	return w.Contacts(), nil
}

// Resolve finds the account that a name of the address book, or an account, stands for.
func (p *Purse) Resolve(to string) (string, error) {
	w, err := wallet.Open(p.path)
	if err != nil {
		return "", err
	}
	return w.Resolve(to)
}

// Remember puts a name into the address book; account "" takes it out.
func (p *Purse) Remember(name, account string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	w, err := wallet.Open(p.path)
	if err != nil {
		return err
	}
	if account == "" {
		err = w.Forget(name)
	} else {
		err = w.Remember(name, account)
	}
	if err != nil {
		return err
	}
	return wallet.Save(p.path, w)
}
