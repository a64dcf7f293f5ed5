package vault

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"sync"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/wallet"
)

// Codes of what bearers ask for. Claims that do not verify keep the codes of package
// wallet, what the books refuse those of the ledger.
const (
	CodeBondUnknown  Code = "bond_unknown"  // there is no bond of that serial
	CodeBondRedeemed Code = "bond_redeemed" // it was redeemed before: a bond is redeemed once
)

// Claimed is what became of a bearer's claim; it is on disk.
type Claimed struct {
	Bond     ledger.Bond // afterwards
	Posting  ledger.Known
	Repeated bool // the very same claim was done before
}

// Redeem pays a bond into the wallet that its bearer's key names, once. The very same
// claim again returns the first result; any other claim on a bond that was redeemed is
// refused with [CodeBondRedeemed].
func (s *Station) Redeem(ctx context.Context, claim wallet.Claim) (Claimed, error) {
	r, err := proof.DecodeRedemption(claim.Envelope.Payload)
	if err != nil {
		return Claimed{}, &wallet.Error{Code: wallet.CodeMalformed, Detail: "redemption", Err: err}
	}
	raw, err := claim.EncodeCBOR()
	if err != nil {
		return Claimed{}, err
	}
	return s.claim(ctx, r.Serial, r.Expires, &ledger.Redeem{Serial: r.Serial, Payee: r.Payee, Proof: raw}, func(b wallet.Bearer, now uint64) error {
		_, err := claim.Redemption(b, now)
		return err
	})
}

// Reissue binds a bond to the key that its bearer names. The very same claim again
// returns the first result.
func (s *Station) Reissue(ctx context.Context, claim wallet.Claim) (Claimed, error) {
	r, err := proof.DecodeReissue(claim.Envelope.Payload)
	if err != nil {
		return Claimed{}, &wallet.Error{Code: wallet.CodeMalformed, Detail: "reissue", Err: err}
	}
	raw, err := claim.EncodeCBOR()
	if err != nil {
		return Claimed{}, err
	}
	return s.claim(ctx, r.Serial, r.Expires, &ledger.Reissue{Serial: r.Serial, KeyHash: r.KeyHash, Proof: raw}, func(b wallet.Bearer, now uint64) error {
		_, err := claim.Reissue(b, now)
		return err
	})
}

// claim hands a bearer's claim to the writer. Anybody may send one, so its signature is
// verified before, and by the writer only when the bond has changed hands or the claim has
// expired meanwhile. One that was posted before is not verified again: nothing happens
// then.
func (s *Station) claim(ctx context.Context, serial, expires uint64, c ledger.Command, verify func(wallet.Bearer, uint64) error) (done Claimed, err error) {
	bearer, err := s.verifyClaim(ctx, serial, c.Key(), verify)
	if err != nil {
		return done, err
	}
	err = s.do(ctx, &job{key: c.Key(), weight: 1, apply: func(now uint64) (refused, err error) {
		now = max(now, s.book.State().Time)
		bond, found := s.book.Bond(serial)
		if !found {
			return bondUnknown(serial), nil
		}
		_, posted, err := s.keys.Find(c.Key())
		if err != nil {
			return nil, err
		}
		if !posted && bond.Payee == "" && (bond.KeyHash != bearer.KeyHash || now >= expires) {
			if refused := verify(wallet.Bearer{Origin: s.Origin, Serial: serial, KeyHash: bond.KeyHash}, now); refused != nil {
				return refused, nil
			}
		}
		out, refused, err := s.apply(c, now)
		if code := ledger.CodeOf(refused); bond.Payee != "" && (code == ledger.CodeConflict || code == ledger.CodeDuplicate) {
			refused = &Error{Code: CodeBondRedeemed, Detail: fmt.Sprintf("bond %d was redeemed before; nothing was paid", serial)}
		}
		done.Posting, done.Repeated = out.Known, out.Repeated
		done.Bond, _ = s.book.Bond(serial)
		return refused, err
	}})
	return done, err
}

// verifyClaim verifies a claim by the bond as it is now, and returns the bearer for whom
// it holds: none when the bond was redeemed, or the claim posted, before.
func (s *Station) verifyClaim(ctx context.Context, serial uint64, key string, verify func(wallet.Bearer, uint64) error) (wallet.Bearer, error) {
	s.mu.RLock()
	bond, found := s.book.Bond(serial)
	now, away := max(uint64(s.Clock.Now().UnixMilli()), s.book.State().Time), s.away
	s.mu.RUnlock()
	switch {
	case away || found && bond.Payee != "":
		return wallet.Bearer{}, nil
	case !found:
		return wallet.Bearer{}, bondUnknown(serial)
	}
	bearer := wallet.Bearer{Origin: s.Origin, Serial: serial, KeyHash: bond.KeyHash}
	refused := verify(bearer, now)
	if refused == nil {
		return bearer, nil
	}
	if _, posted, err := find(ctx, s.DB, key); err != nil || posted {
		return wallet.Bearer{}, unavailable(err)
	}
	return wallet.Bearer{}, refused
}

func bondUnknown(serial uint64) error {
	return &Error{Code: CodeBondUnknown, Detail: fmt.Sprintf("there is no bond %d", serial)}
}

// BondOfKey finds the bond that is bound to a bearer's key, the newest of them. Anybody
// may ask: it costs the same however many bonds there are.
func (s *Station) BondOfKey(hash merkle.Hash) (bond ledger.Bond, found bool) {
	s.With(func(b *ledger.Book, _ *proof.Registry) {
		if serial := s.bound.newest(b, hash); serial > 0 {
			bond, found = b.Bond(serial)
		}
	})
	return bond, found
}

// bondIndex finds the bonds of a book by the key that they are bound to. It is made
// when somebody first asks, and made anew for other books.
type bondIndex struct {
	mu    sync.Mutex
	book  *ledger.Book
	count uint64                 // of the bonds that it has
	keys  map[uint64]merkle.Hash // by serial
	bonds map[merkle.Hash][]uint64
}

// newest is the last bond of a key, 0 if there is none.
func (x *bondIndex) newest(b *ledger.Book, hash merkle.Hash) uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.book != b {
		x.book, x.count, x.keys, x.bonds = b, 0, map[uint64]merkle.Hash{}, map[merkle.Hash][]uint64{}
	}
	for count := b.State().BondCount; x.count < count; {
		x.count++
		if bond, found := b.Bond(x.count); found {
			x.bind(bond)
		}
	}
	serials := x.bonds[hash]
	if len(serials) == 0 {
		return 0
	}
	return serials[len(serials)-1]
}

// changed notes a bond of a book that may be bound to another key now.
func (x *bondIndex) changed(b *ledger.Book, bond ledger.Bond) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.book == b && bond.Serial <= x.count {
		x.bind(bond)
	}
}

func (x *bondIndex) bind(bond ledger.Bond) {
	if former, known := x.keys[bond.Serial]; known {
		if former == bond.KeyHash {
			return
		}
		if left := slices.DeleteFunc(x.bonds[former], func(serial uint64) bool { return serial == bond.Serial }); len(left) > 0 {
			x.bonds[former] = left
		} else {
			delete(x.bonds, former)
		}
	}
	x.keys[bond.Serial] = bond.KeyHash
	at, _ := slices.BinarySearch(x.bonds[bond.KeyHash], bond.Serial)
	x.bonds[bond.KeyHash] = slices.Insert(x.bonds[bond.KeyHash], at, bond.Serial)
}

// bondsBefore are the bonds that a command may change, and how many there are before it.
type bondsBefore struct {
	count   uint64
	serials []uint64
}

// bondsBefore is called before a command is applied.
func (s *Station) bondsBefore(c ledger.Command) bondsBefore {
	before := bondsBefore{count: s.book.State().BondCount}
	switch c := c.(type) {
	case *ledger.Redeem:
		before.serials = []uint64{c.Serial}
	case *ledger.Reissue:
		before.serials = []uint64{c.Serial}
	case *ledger.Recall:
		for serial, bond := range s.book.Bonds() {
			if holds(bond, c.Serial) {
				before.serials = []uint64{serial}
				break
			}
		}
	}
	return before
}

func holds(b ledger.Bond, certificate uint64) bool {
	for _, span := range b.Certificates {
		if span.First <= certificate && certificate <= span.Last {
			return true
		}
	}
	return false
}

// bondsAfter are the bonds that a command has changed or issued, after it.
func (s *Station) bondsAfter(before bondsBefore) (changed []ledger.Bond) {
	for serial := before.count + 1; serial <= s.book.State().BondCount; serial++ {
		before.serials = append(before.serials, serial)
	}
	for _, serial := range before.serials {
		if bond, found := s.book.Bond(serial); found {
			changed = append(changed, bond)
			s.bound.changed(s.book, bond)
		}
	}
	return changed
}

// announce tells the mint what became of bonds, so that it signs them.
func (s *Station) announce(ctx context.Context, tx *sql.Tx, p *Posted, now uint64) error {
	for _, b := range p.bonds {
		if err := s.send(ctx, tx, "bond", proof.TypeBonding, bonding(s.Origin, p.Seq, b, max(now, b.Issued)).Encode()); err != nil {
			return err
		}
	}
	return nil
}

func bonding(origin string, posting uint64, b ledger.Bond, at uint64) proof.Bonding {
	word := proof.Bonding{Origin: origin, Posting: posting, Serial: b.Serial, Face: b.Face, KeyHash: b.KeyHash, Issued: at}
	for _, span := range b.Certificates {
		word.Certificates = append(word.Certificates, proof.Serials{First: span.First, Last: span.Last})
	}
	return word
}
