package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/vault"
)

// members is what the log and the postings say of people.
type members struct {
	enrolled   map[string][]uint64  // issued_ms of first enrolments, by registrar
	objections map[merkle.Hash]bool // rebindings that a former key has objected to
	rows       uint64               // of vault_objection, found right
}

// checkEnrolment checks a new version of an enrolment by what was logged before it:
// that a person stays the same, that a rebinding leaves time to object, and that no
// registrar enrols more people in 24 hours than the policy allows.
func (a *auditor) checkEnrolment(e archive.Entry, env seal.Envelope) error {
	n, err := seal.DecodeEnrolment(env.Payload)
	if err != nil || n.Robot != nil {
		return nil // the registry names what is wrong with its form
	}
	l := &a.log
	p, _, found := l.registry.Policy(n.IssuedMS)
	if !found {
		return nil
	}
	name := fmt.Sprintf("enrolment of %s %s v%d", n.Role(), n.ID, n.Version)
	bad := func(rule string, err error) error {
		return &proof.Fault{Artefact: name, Digest: e.Digest, Rule: rule, Detail: err.Error()}
	}
	if err := proof.CheckPerson(a.history(n.Role(), n.ID), n, p.RebindDelay); err != nil {
		return bad("enrolment", err)
	}
	if n.Version > 1 {
		return nil
	}
	recent := uint64(1)
	for _, issued := range l.members.enrolled[n.Registrar()] {
		if issued+policy.Day > n.IssuedMS {
			recent++
		}
	}
	if recent > p.EnrolPerDay {
		return bad("enrol_per_day", fmt.Errorf("registrar %s has enrolled %d in 24 hours; the policy allows %d", n.Registrar(), recent, p.EnrolPerDay))
	}
	l.members.enrolled[n.Registrar()] = append(l.members.enrolled[n.Registrar()], n.IssuedMS)
	return nil
}

// history is what the log says of a person. The audit's registry holds everybody, so that
// no store can fail it.
func (a *auditor) history(role, id string) []proof.SignedEnrolment {
	all, _ := a.log.registry.PersonHistory(role, id)
	return all
}

// keysAt are the keys of an account's owner that counted at a time, by a version of its
// enrolment and what was objected to so far.
func (a *auditor) keysAt(role, id string, version, at uint64) []seal.Key {
	history := a.history(role, id)
	return proof.KeysAt(history[:min(version, uint64(len(history)))], at, func(d merkle.Hash) bool { return a.log.members.objections[d] })
}

// checkObjections follows what an order objects to, and compares it with what the vault
// keeps.
func (a *auditor) checkObjections(ctx context.Context, p ledger.Posting, o ledger.Order) error {
	m := &a.log.members
	for _, op := range o.Operations {
		if op.Kind != ledger.OpObject || m.objections[op.Hash] {
			continue
		}
		if !a.waits(o.From, op.Hash, p.Time) {
			return postingFault(p.Seq, "objection", "%s is no rebinding of %s that still waited", op.Hash, o.From)
		}
		m.objections[op.Hash] = true
		var account string
		var seq, at uint64
		err := a.tx.QueryRowContext(ctx, "SELECT account, seq, time FROM vault_objection WHERE digest = ?", op.Hash[:]).Scan(&account, &seq, &at)
		what := "objection to " + op.Hash.String()
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return fault(what, "missing", "posting %d objects, and there is no such row", p.Seq)
		case err != nil:
			return unreadable(what, err)
		case account != o.From || seq != p.Seq || at != p.Time:
			return fault(what, "stored_objection", "the store says %s by posting %d at %d; it is %s by posting %d at %d", account, seq, at, o.From, p.Seq, p.Time)
		}
		m.rows++
	}
	return nil
}

// waits tells whether an enrolment was a rebinding of an account that still waited.
func (a *auditor) waits(account string, digest merkle.Hash, at uint64) bool {
	role, id := split(account)
	history := a.history(role, id)
	for _, r := range proof.Rebindings(history[:min(a.books.versions[account].version, uint64(len(history)))]) {
		if r.Digest == digest {
			return at < r.Effective
		}
	}
	return false
}

// KeptReceipt is a receipt that a member kept, with the order that it answers.
type KeptReceipt struct {
	Order   seal.Envelope
	Receipt seal.Envelope
}

// kept are the receipts to be found, by the posting that they name.
func (a *auditor) keepReceipts() error {
	a.log.kept = map[uint64][]KeptReceipt{}
	for i, k := range a.opts.Receipts {
		name := fmt.Sprintf("kept receipt %d", i+1)
		r, err := proof.DecodeReceipt(k.Receipt.Payload)
		if err != nil || k.Receipt.PayloadType != proof.TypeReceipt {
			return fault(name, "form", "it is no receipt: %v", err)
		}
		o, err := ledger.OrderFrom(k.Order)
		if err != nil || o.ID != r.Order || r.Origin != a.sum.Origin {
			return fault(name, "receipt_order", "it is not for the order beside it, or of another reserve (%v)", err)
		}
		if err := a.log.registry.VerifySigned(k.Receipt, seal.RoleVault, "", r.Issued); err != nil {
			return err
		}
		a.log.kept[r.Seq] = append(a.log.kept[r.Seq], k)
	}
	return nil
}

// checkKept compares a posting with the receipts that members kept of it. A receipt
// that the books contradict under a logged head proves fraud.
func (a *auditor) checkKept(p ledger.Posting, c ledger.Command) error {
	for _, k := range a.log.kept[p.Seq] {
		r, err := proof.DecodeReceipt(k.Receipt.Payload)
		if err != nil {
			return err
		}
		submit, ok := c.(*ledger.Submit)
		if r.Posting != p.Hash || !ok || submit.Envelope.Digest() != k.Order.Digest() {
			return postingFault(p.Seq, "receipt_absent", "the vault signed that order %x is this posting, with hash %s; the books hold a %s with hash %s", r.Order, r.Posting, p.Kind, p.Hash)
		}
		a.sum.Receipts++
	}
	delete(a.log.kept, p.Seq)
	return nil
}

// checkLeftReceipts finds receipts of postings that are not there.
func (a *auditor) checkLeftReceipts() error {
	if len(a.log.kept) == 0 {
		return nil
	}
	seq := slices.Min(slices.Collect(maps.Keys(a.log.kept)))
	if seq <= a.log.lastHead {
		return postingFault(seq, "receipt_absent", "the vault signed a receipt of it and a head of posting %d; the books end with number %d", a.log.lastHead, a.books.last.Seq)
	}
	return postingFault(seq, "receipt_absent", "the vault signed a receipt of it; the books end with number %d", a.books.last.Seq)
}

// mayLackReceipt tells whether an order may be without a receipt: they are signed beside
// the writer, and after a crash before anything else is posted.
func (a *auditor) mayLackReceipt(p ledger.Posting) bool { return p.Time+vault.ReceiptLag >= a.lastTime }

// bondWord is a bond artefact in the log.
type bondWord struct {
	entry  uint64
	digest merkle.Hash
	bond   proof.Bond
}

// bondLogged takes in a bond artefact.
func (a *auditor) bondLogged(e archive.Entry, env seal.Envelope) error {
	b, err := proof.DecodeBond(env.Payload)
	if err != nil {
		return &proof.Fault{Artefact: "bond", Digest: e.Digest, Rule: "form", Detail: err.Error()}
	}
	if b.Origin != a.log.registry.Origin() {
		return &proof.Fault{Artefact: fmt.Sprintf("bond %d", b.Serial), Digest: e.Digest, Rule: "origin", Detail: "is of " + b.Origin}
	}
	a.log.bonds = append(a.log.bonds, bondWord{e.Index, e.Digest, b})
	return a.log.registry.VerifySigned(env, seal.RoleMint, "", b.Issued)
}

// bondsBefore are the bonds that a command may change, as they are before it.
func (a *auditor) bondsBefore(c ledger.Command) (count uint64, serials []uint64) {
	book := a.books.auditor.Book()
	switch c := c.(type) {
	case *ledger.Reissue:
		serials = []uint64{c.Serial}
	case *ledger.Recall:
		for serial, b := range book.Bonds() {
			if slices.ContainsFunc(b.Certificates, func(s ledger.Span) bool { return s.First <= c.Serial && c.Serial <= s.Last }) {
				serials = []uint64{serial}
			}
		}
	}
	return book.State().BondCount, serials
}

// checkBonds compares the bonds that a posting has issued or changed with the next ones
// in the log.
func (a *auditor) checkBonds(p ledger.Posting, count uint64, serials []uint64) error {
	book := a.books.auditor.Book()
	for serial := count + 1; serial <= book.State().BondCount; serial++ {
		serials = append(serials, serial)
		a.sum.Bonds++
	}
	for _, serial := range serials {
		b, found := book.Bond(serial)
		if !found {
			continue
		}
		next := a.books.bonds
		a.books.bonds++
		if next >= len(a.log.bonds) {
			a.sum.Unlogged++
			continue
		}
		if err := a.compareBond(p, b, a.log.bonds[next]); err != nil {
			return err
		}
	}
	return nil
}

func (a *auditor) compareBond(p ledger.Posting, b ledger.Bond, w bondWord) error {
	name := fmt.Sprintf("bond %d", w.bond.Serial)
	bad := func(rule, format string, args ...any) error {
		return &proof.Fault{Artefact: name, Digest: w.digest, Rule: rule, Detail: fmt.Sprintf("log entry %d, posting %d: ", w.entry, p.Seq) + fmt.Sprintf(format, args...)}
	}
	var digests []merkle.Hash
	for _, span := range b.Certificates {
		for serial := span.First; serial <= span.Last; serial++ {
			if serial > uint64(len(a.log.digests)) {
				return bad("bond_certificates", "certificate %d is not logged", serial)
			}
			digests = append(digests, a.log.digests[serial-1])
		}
	}
	switch root := merkle.Root(proof.RunLeaves(digests)); {
	case w.bond.Serial != b.Serial:
		return bad("bond_serial", "the books issue or change bond %d there", b.Serial)
	case w.bond.Face != b.Face:
		return bad("bond_face", "says %d RT, the books %d", w.bond.Face, b.Face)
	case w.bond.KeyHash != b.KeyHash:
		return bad("bond_key", "says key %s, the books %s", w.bond.KeyHash, b.KeyHash)
	case w.bond.Root != root:
		return bad("bond_root", "says root %s, its certificates make it %s", w.bond.Root, root)
	case w.bond.Issued < p.Time:
		return bad("bond_issued", "says %d, the posting was made at %d", w.bond.Issued, p.Time)
	case w.bond.Issued <= a.books.bondIssued[b.Serial]:
		return bad("bond_issued", "says %d, the version before %d", w.bond.Issued, a.books.bondIssued[b.Serial])
	}
	a.books.bondIssued[b.Serial] = w.bond.Issued
	return nil
}

// checkLeftBonds finds artefacts of bonds that the books do not make.
func (a *auditor) checkLeftBonds() error {
	for _, w := range a.log.bonds[min(a.books.bonds, len(a.log.bonds)):] {
		if w.entry < a.log.before {
			return &proof.Fault{Artefact: fmt.Sprintf("bond %d", w.bond.Serial), Digest: w.digest, Rule: "bond_unbacked",
				Detail: fmt.Sprintf("log entry %d, signed by the mint; no posting issues or changes it so", w.entry)}
		}
	}
	return nil
}

// checkClaim verifies a bearer's claim by the key that the bond was bound to before it.
func (a *auditor) checkClaim(p ledger.Posting, serial uint64, raw []byte, verify func(claim claimed) error) error {
	b, found := a.books.auditor.Book().Bond(serial)
	if !found {
		return postingFault(p.Seq, "bond_unknown", "there is no bond %d", serial)
	}
	c, err := decodeClaim(raw, a.sum.Origin, b)
	if err == nil {
		err = verify(c)
	}
	if err != nil {
		return postingFault(p.Seq, "bond_claim", "bond %d: %v", serial, err)
	}
	a.sum.Claims++
	return nil
}

// checkDone compares what the vault says that it has done up to a posting.
func (a *auditor) checkDone(ctx context.Context) error {
	rows, err := a.tx.QueryContext(ctx, "SELECT name, seq FROM vault_done")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var seq uint64
		if err := rows.Scan(&name, &seq); err != nil {
			return unreadable("vault_done", err)
		}
		if name != "receipts" || seq > a.books.last.Seq {
			return fault("vault_done "+name, "stored_done", "says %d; the books end with number %d", seq, a.books.last.Seq)
		}
		a.sum.Rows++
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return a.noMore(ctx, "objection", "vault_objection", a.log.members.rows, "SELECT hex(digest) FROM vault_objection ORDER BY seq DESC LIMIT 1")
}
