package wallet

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"robotorq.org/reserve/seal"
)

// PublicKey is the public half of an account's key.
type PublicKey struct {
	Alg    string `json:"alg"`
	KeyID  string `json:"keyid"`
	Public []byte `json:"public"` // base64 in JSON
}

// Account is an account in a wallet.
type Account struct {
	Name  string      `json:"account"` // member:<id> or org:<id>
	Index *uint32     `json:"index"`   // of its derived keys; nil when it is only watched
	Keys  []PublicKey `json:"keys"`    // may be empty when it is only watched
}

// WatchOnly reports whether the wallet cannot sign for the account.
func (a Account) WatchOnly() bool { return a.Index == nil }

// EnrolmentKeys are the account's keys as an enrolment holds them, open from
// notBeforeMS on: what a registrar is given.
func (a Account) EnrolmentKeys(notBeforeMS uint64) []seal.Key {
	role, id, _ := strings.Cut(a.Name, ":")
	keys := make([]seal.Key, len(a.Keys))
	for i, k := range a.Keys {
		keys[i] = seal.NewKey(id, role, k.Alg, k.Public, notBeforeMS)
	}
	return keys
}

// SplitAccount takes "member:ada" or "org:acme" apart. The error has code
// [CodeAccount].
func SplitAccount(account string) (role, id string, err error) {
	role, id, _ = strings.Cut(account, ":")
	if role != seal.RoleMember && role != seal.RoleOrg || !seal.ValidID(id) {
		return "", "", failf(CodeAccount, "%q is not an account: want member:<id> or org:<id>, id of a-z, 0-9 and -", clip(account))
	}
	return role, id, nil
}

// Contact is an entry of the address book.
type Contact struct {
	Name    string `json:"name"`
	Account string `json:"account"`
}

const (
	maxName  = 64 // bytes
	maxIndex = 1<<31 - 1
)

// checkName refuses what could be taken for an account or cannot be printed.
func checkName(name string) error {
	bad := func(r rune) bool { return !unicode.IsPrint(r) || r == ':' }
	if name == "" || len(name) > maxName || !utf8.ValidString(name) || strings.ContainsFunc(name, bad) || strings.TrimSpace(name) != name {
		return failf(CodeName, "%q cannot be a name: 1 to %d printable bytes without colon, no space at the ends", clip(name), maxName)
	}
	return nil
}

// Wallet is a seed, the accounts whose keys follow from it, accounts that are only
// watched, and an address book. It is not safe for concurrent use.
type Wallet struct {
	origin   string
	accounts []Account
	contacts []Contact // sorted by name
	next     uint32    // index of the next derived account
	sealed   string    // the seed as it stands in the file; "" when there is none
	seed     *Seed     // nil while locked, or when there is none
}

// New is a wallet with a seed, unlocked, for one reserve: origin is the name of its
// log, or "" while the wallet has not met its reserve ([Wallet.Bind]).
func New(origin string, seed Seed) (*Wallet, error) {
	w, err := NewWatchOnly(origin)
	if err == nil {
		w.seed = &seed
	}
	return w, err
}

// NewWatchOnly is a wallet without a seed: it cannot sign anything.
func NewWatchOnly(origin string) (*Wallet, error) {
	if origin != "" && !seal.ValidOrigin(origin) {
		return nil, failf(CodeMalformed, "%q cannot be the name of a reserve's log", clip(origin))
	}
	return &Wallet{origin: origin}, nil
}

// Bind makes the wallet one of a reserve, for good: it never signs for another.
func (w *Wallet) Bind(origin string) error {
	if !seal.ValidOrigin(origin) {
		return failf(CodeMalformed, "%q cannot be the name of a reserve's log", clip(origin))
	}
	if w.origin != "" && w.origin != origin {
		return failf(CodeOrder, "the wallet belongs to the reserve %s, this is %s", w.origin, origin)
	}
	w.origin = origin
	return nil
}

// Origin is the name of the reserve's log, "" while the wallet has not met its reserve.
func (w *Wallet) Origin() string { return w.origin }

// Accounts lists the accounts in the order in which they were added.
func (w *Wallet) Accounts() []Account { return slices.Clone(w.accounts) }

// Account finds an account by its name; with an empty name, the only one there is.
// The error has code [CodeAccount].
func (w *Wallet) Account(name string) (Account, error) {
	if name == "" && len(w.accounts) == 1 {
		return w.accounts[0], nil
	}
	if i := w.index(name); i >= 0 {
		return w.accounts[i], nil
	}
	if name == "" {
		return Account{}, failf(CodeAccount, "the wallet has %d accounts: say which", len(w.accounts))
	}
	return Account{}, failf(CodeAccount, "the wallet has no account %q", clip(name))
}

func (w *Wallet) index(name string) int {
	return slices.IndexFunc(w.accounts, func(a Account) bool { return a.Name == name })
}

// Add derives the keys of a new account with the next free index. It needs the seed
// ([CodeLocked], [CodeWatchOnly]).
func (w *Wallet) Add(account string) (Account, error) { return w.AddAt(account, w.next) }

// AddAt derives the keys of a new account with a given index, as after a wallet was
// restored from its words: accounts added in their old order get their old keys.
// An index is used once.
func (w *Wallet) AddAt(account string, index uint32) (Account, error) {
	role, id, err := SplitAccount(account)
	if err != nil {
		return Account{}, err
	}
	if w.index(account) >= 0 {
		return Account{}, failf(CodeAccount, "the wallet has account %s already", account)
	}
	if index > maxIndex {
		return Account{}, failf(CodeAccount, "keys are numbered from 0 to %d", maxIndex)
	}
	for _, a := range w.accounts {
		if a.Index != nil && *a.Index == index {
			return Account{}, failf(CodeAccount, "keys %d belong to %s", index, a.Name)
		}
	}
	seed, err := w.unlocked()
	if err != nil {
		return Account{}, err
	}
	signer, err := seed.Signer(role, id, index)
	if err != nil {
		return Account{}, err
	}
	a := Account{Name: account, Index: &index, Keys: publicKeys(signer)}
	w.accounts = append(w.accounts, a)
	w.next = max(w.next, index+1)
	return a, nil
}

// Watch adds an account without private keys; keys may be nil.
func (w *Wallet) Watch(account string, keys []seal.Key) (Account, error) {
	if _, _, err := SplitAccount(account); err != nil {
		return Account{}, err
	}
	if w.index(account) >= 0 {
		return Account{}, failf(CodeAccount, "the wallet has account %s already", account)
	}
	a := Account{Name: account, Keys: []PublicKey{}}
	for _, k := range keys {
		a.Keys = append(a.Keys, PublicKey{Alg: k.Alg, KeyID: k.KeyID, Public: slices.Clone(k.Public)})
	}
	if err := a.check(); err != nil {
		return Account{}, err
	}
	w.accounts = append(w.accounts, a)
	return a, nil
}

// Remove takes an account out of the wallet; its keys can be derived again with
// [Wallet.AddAt].
func (w *Wallet) Remove(account string) error {
	i := w.index(account)
	if i < 0 {
		return failf(CodeAccount, "the wallet has no account %q", clip(account))
	}
	w.accounts = slices.Delete(w.accounts, i, i+1)
	return nil
}

// Signer derives the keys of an account and compares them with those in the wallet.
// The error has code [CodeAccount], [CodeWatchOnly], [CodeLocked] or [CodeKey].
func (w *Wallet) Signer(account string) (*seal.Signer, error) {
	a, err := w.Account(account)
	if err != nil {
		return nil, err
	}
	if a.WatchOnly() {
		return nil, failf(CodeWatchOnly, "%s is only watched: its keys are not in this wallet", a.Name)
	}
	seed, err := w.unlocked()
	if err != nil {
		return nil, err
	}
	role, id, err := SplitAccount(a.Name)
	if err != nil {
		return nil, err
	}
	signer, err := seed.Signer(role, id, *a.Index)
	if err != nil {
		return nil, err
	}
	if !slices.EqualFunc(publicKeys(signer), a.Keys, samePublic) {
		return nil, failf(CodeKey, "the seed does not give the keys that the wallet holds for %s: the file was altered", a.Name)
	}
	return signer, nil
}

// Words are the backup words of the seed. It needs the seed.
func (w *Wallet) Words() (string, error) {
	seed, err := w.unlocked()
	if err != nil {
		return "", err
	}
	return seed.Words(), nil
}

// HasSeed reports whether the wallet can sign once it is unlocked.
func (w *Wallet) HasSeed() bool { return w.seed != nil || w.sealed != "" }

// Locked reports whether [Wallet.Unlock] is needed before anything is signed.
func (w *Wallet) Locked() bool { return w.seed == nil && w.sealed != "" }

func (w *Wallet) unlocked() (*Seed, error) {
	switch {
	case w.seed != nil:
		return w.seed, nil
	case w.sealed != "":
		return nil, failf(CodeLocked, "the wallet is locked: its passphrase is needed")
	}
	return nil, failf(CodeWatchOnly, "the wallet has no seed: it only watches")
}

// Contacts lists the address book by name.
func (w *Wallet) Contacts() []Contact { return slices.Clone(w.contacts) }

// Remember puts a name into the address book, or gives it another account. The error
// has code [CodeName] or [CodeAccount].
func (w *Wallet) Remember(name, account string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if _, _, err := SplitAccount(account); err != nil {
		return err
	}
	at, found := slices.BinarySearchFunc(w.contacts, name, compareContact)
	if found {
		w.contacts[at].Account = account
		return nil
	}
	w.contacts = slices.Insert(w.contacts, at, Contact{Name: name, Account: account})
	return nil
}

// Forget takes a name out of the address book.
func (w *Wallet) Forget(name string) error {
	at, found := slices.BinarySearchFunc(w.contacts, name, compareContact)
	if !found {
		return failf(CodeName, "the address book has no %q", clip(name))
	}
	w.contacts = slices.Delete(w.contacts, at, at+1)
	return nil
}

// Resolve finds the account that a person typed: a name of the address book, or an
// account itself.
func (w *Wallet) Resolve(typed string) (account string, err error) {
	typed = strings.TrimSpace(typed)
	if at, found := slices.BinarySearchFunc(w.contacts, typed, compareContact); found {
		return w.contacts[at].Account, nil
	}
	if !strings.Contains(typed, ":") {
		return "", failf(CodeName, "the address book has no %q; an account is member:<id> or org:<id>", clip(typed))
	}
	_, _, err = SplitAccount(typed)
	return typed, err
}

func compareContact(c Contact, name string) int { return strings.Compare(c.Name, name) }

func publicKeys(s *seal.Signer) []PublicKey {
	keys := make([]PublicKey, len(s.Keys))
	for i, k := range s.Keys {
		keys[i] = PublicKey{Alg: k.Alg, KeyID: k.KeyID(), Public: k.Public}
	}
	return keys
}

func samePublic(a, b PublicKey) bool {
	return a.Alg == b.Alg && a.KeyID == b.KeyID && slices.Equal(a.Public, b.Public)
}

// check tests the form of an account that was read or added.
func (a Account) check() error {
	if _, _, err := SplitAccount(a.Name); err != nil {
		return err
	}
	if a.Keys == nil || !a.WatchOnly() && len(a.Keys) == 0 {
		return failf(CodeMalformed, "account %s has no keys", a.Name)
	}
	for _, k := range a.Keys {
		alg, ok := seal.Lookup(k.Alg)
		if !ok || len(k.Public) != alg.Sizes().Public || seal.KeyID(k.Alg, k.Public) != k.KeyID {
			return failf(CodeKey, "key %q of %s is not a key of %q", clip(k.KeyID), a.Name, clip(k.Alg))
		}
	}
	return nil
}
