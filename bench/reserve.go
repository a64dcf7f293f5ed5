package bench

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/feed"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/vault"
)

// Names in a reserve that is made up for measuring.
const (
	origin    = "bench.invalid/log"
	vaultID   = "vault-1"
	registrar = "registrar-1"
	donor     = "org:donor"
)

// Reserve is a made-up reserve: its keys and documents, and books in which every member
// has something to spend. Its methods are not for concurrent use.
type Reserve struct {
	Profile torq.Profile
	Origin  string
	Made    uint64 // Unix ms: when its books begin
	Vault   *seal.Signer
	Signers []*seal.Signer // of the members that have keys, in order

	documents []seal.Envelope
}

// NewReserve makes keys for a vault and for the first signing members, all of which
// costs time. now is Unix ms.
func NewReserve(now uint64, signing int) (*Reserve, error) {
	// Its certificates are minted two hours ago and their money is released since.
	r := &Reserve{Profile: torq.Standard(), Origin: origin, Made: now - 2*policy.Hour}
	charter := seal.Charter{Name: origin, Version: 1, IssuedMS: r.Made, Threshold: 1}
	signers := map[string]*seal.Signer{}
	for _, s := range [][2]string{
		{"root-1", seal.RoleRoot}, {"digger-1", seal.RoleDigger}, {"refinery-1", seal.RoleRefinery}, {"mint-1", seal.RoleMint},
		{vaultID, seal.RoleVault}, {"trust-1", seal.RoleTrust}, {registrar, seal.RoleRegistrar}, {origin, seal.RoleLog},
	} {
		signer, err := seal.NewSigner(s[0], s[1])
		if err != nil {
			return nil, err
		}
		signers[s[0]] = signer
		charter.Keys = append(charter.Keys, signer.PublicKeys(r.Made)...)
	}
	r.Vault = signers[vaultID]
	env, err := charter.Sign(signers["root-1"])
	if err != nil {
		return nil, err
	}
	r.documents = append(r.documents, env)
	for i := range signing {
		if err := r.enrol(i, signers[registrar]); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *Reserve) enrol(i int, by *seal.Signer) error {
	signer, err := seal.NewSigner(memberID(i), seal.RoleMember)
	if err != nil {
		return err
	}
	e := seal.Enrolment{
		Origin: r.Origin, ID: signer.Name, Version: 1, IssuedMS: r.Made, Keys: signer.PublicKeys(r.Made),
		Member: &seal.MemberTerms{Subject: merkle.LeafHash([]byte(signer.Name)), Registrar: registrar, Status: seal.StatusActive},
	}
	payload, err := e.Encode()
	if err != nil {
		return err
	}
	env, err := by.Sign(proof.TypeEnrolment, payload)
	if err != nil {
		return err
	}
	r.Signers, r.documents = append(r.Signers, signer), append(r.documents, env)
	return nil
}

func memberID(i int) string { return fmt.Sprintf("%08d", i) }

// Member is the account of a member, counted from 0.
func Member(i int) string { return seal.RoleMember + ":" + memberID(i) }

// memberNumber is the number of a member's account.
func memberNumber(account string) (n int) {
	for _, digit := range account[len(seal.RoleMember)+1:] {
		n = 10*n + int(digit-'0')
	}
	return n
}

// noKeys finds nothing: the books are made up from commands that differ.
type noKeys struct{}

func (noKeys) Find(string) (ledger.Known, bool, error) { return ledger.Known{}, false, nil }

// certificates are minted two hours ago and released over four.
const certificates = 2000

// Fill makes the books of so many members, who share half of the money, and gives every posting and the rows at the end to keep. With 10,000,000 of them it
// takes a minute.
func (r *Reserve) Fill(members int, now uint64, keep func(ledger.Changes) error) error {
	document, err := r.policy()
	if err != nil {
		return err
	}
	book := ledger.New(r.Profile, r.Origin, noKeys{})
	post := func(c ledger.Command) error {
		_, err := book.Apply(c, r.Made)
		return err
	}
	// The rows are kept at the end, when each is what it is.
	drain := func() error { return keep(ledger.Changes{Postings: book.Drain().Postings}) }
	ore := r.Profile.CertificateOre()
	commands := []ledger.Command{
		&ledger.Adopt{Document: document},
		&ledger.Enrol{Account: donor},
		&ledger.Award{Terms: ledger.Terms{Number: 1, Enterprise: donor, Robots: []string{"r"}, Work: certificates * ore, Release: policy.Uniform, Duration: 4 * policy.Hour, Deadline: r.Made + policy.Day}},
		&ledger.Fund{Contract: 1},
	}
	for i := range members {
		commands = append(commands, &ledger.Enrol{Account: Member(i)})
		if len(commands) == 10_000 || i == members-1 {
			for _, c := range commands {
				if err := post(c); err != nil {
					return err
				}
			}
			if err := drain(); err != nil {
				return err
			}
			commands = commands[:0]
		}
	}
	for serial := range uint64(certificates) {
		if err := post(&ledger.Mint{Serial: serial + 1, Work: []ledger.Work{{Contract: 1, Ore: ore}}}); err != nil {
			return err
		}
	}
	if _, err := book.Advance(now); err != nil {
		return err
	}
	if err := drain(); err != nil {
		return err
	}
	var rows []ledger.Row
	for row := range book.Rows() {
		if rows = append(rows, row); len(rows) == 10_000 {
			if err := keep(ledger.Changes{Rows: rows}); err != nil {
				return err
			}
			rows = rows[:0]
		}
	}
	return keep(ledger.Changes{Rows: rows})
}

func (r *Reserve) policy() ([]byte, error) {
	d, err := policy.Default(r.Origin, r.Made)
	if err == nil {
		d, err = policy.Amend(d, []byte(`{"min_members": 1, "genesis_growth": "0", "stake_target": 7200000000}`))
	}
	if err != nil {
		return nil, err
	}
	return d.Encode()
}

// Books fills new books at db: documents, postings (all of them, or the last one) and
// rows.
func (r *Reserve) Books(ctx context.Context, db *store.DB, members int, now uint64, whole bool) error {
	registry := proof.NewRegistry(r.Profile, nil)
	err := db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for i, env := range r.documents {
			if _, err := feed.Learn(ctx, tx, registry, uint64(i)+1, env); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	var last []ledger.Posting
	keep := func(ch ledger.Changes) error {
		if !whole && len(ch.Postings) > 0 {
			last = slices.Clone(ch.Postings[len(ch.Postings)-1:])
			return nil
		}
		return save(ctx, db, ch)
	}
	if err := r.Fill(members, now, keep); err != nil {
		return err
	}
	return save(ctx, db, ledger.Changes{Postings: last})
}

func save(ctx context.Context, db *store.DB, ch ledger.Changes) error {
	return db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error { return vault.Save(ctx, db, tx, ch) })
}

// Open opens the vault's station over books of this reserve.
func (r *Reserve) Open(ctx context.Context, db *store.DB, clock vault.Clock) (*vault.Station, error) {
	return r.open(ctx, db, clock, nil)
}

func (r *Reserve) open(ctx context.Context, db *store.DB, clock vault.Clock, posted func(vault.Posted)) (*vault.Station, error) {
	out, err := bus.NewOutbox(ctx, db, vaultID, "mint-1")
	if err != nil {
		return nil, err
	}
	return vault.Open(ctx, vault.Options{
		ID: vaultID, Origin: r.Origin, Profile: r.Profile, Signer: r.Vault, DB: db, Outbox: out, Clock: clock, Posted: posted,
	})
}

// Send is an order of so many transfers of 1 JT from one member to others, unsigned.
func (r *Reserve) Send(from int, id uint64, now uint64, to func() int, transfers int) seal.Envelope {
	o := ledger.Order{Origin: r.Origin, From: Member(from), Created: now, Expires: now + 30*policy.Day, Operations: make([]ledger.Operation, transfers)}
	for i := range 8 {
		o.ID[i], o.ID[8+i] = byte(id>>(8*i)), byte(from>>(8*i))
	}
	for i := range o.Operations {
		o.Operations[i] = ledger.Operation{Kind: ledger.OpSend, To: Member(to()), Amount: 1}
	}
	return seal.Envelope{PayloadType: ledger.TypeOrder, Payload: o.Encode()}
}

// Sign signs an order of a member that has keys.
func (r *Reserve) Sign(from int, env seal.Envelope) (seal.Envelope, error) {
	return r.Signers[from].Sign(env.PayloadType, env.Payload)
}
