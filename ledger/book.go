package ledger

import (
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// Known is what is remembered of a posting under its idempotency key.
type Known struct {
	Seq         uint64
	Hash        merkle.Hash
	Time        uint64
	Fingerprint merkle.Hash // of the command
}

// Keys finds the postings of former commands by their idempotency key: the store's
// index. It is asked only for keys that two drains have passed.
type Keys interface {
	Find(key string) (Known, bool, error)
}

// Outcome is what became of a command.
type Outcome struct {
	Known
	Repeated bool     // the command was posted before: Known is its first result
	Posting  *Posting // nil when repeated
	Members  uint64   // of a dividend: to how many
	Each     torq.JT  // of a dividend: JT to each
}

// Book is the books of one reserve.
type Book struct {
	profile torq.Profile
	origin  string
	keys    Keys

	state     State
	wallets   *table
	policies  *shelf[*policy.Document] // by version
	contracts *shelf[Contract]         // by number
	schedules *shelf[Schedule]         // by number
	notices   *shelf[Notice]           // by number
	bonds     *shelf[Bond]             // by serial

	derived derived
	undo    undo
	pending pending
	dead    error
}

// derived is what follows from the rest and is not kept; numbers in it may be
// stale, the shelves decide.
type derived struct {
	shapes  map[shape]uint64    // schedules that take more
	matures map[uint64][]uint64 // notices by the hour whose tick they wait for
	booked  map[string]uint64   // robots by the contract that they work for
}

// undo is what the command at hand has changed.
type undo struct {
	state   State
	wallets []savedWallet
	entries []Entry
	payout  payout
}

type savedWallet struct {
	row uint32
	old wallet
}

// payout is what a dividend paid.
type payout struct {
	members uint64
	each    torq.JT
}

// pending is what was posted since the last drain.
type pending struct {
	postings []Posting
	rows     []uint32
	keys     map[string]Known
	drained  map[string]Known // by the drain before, perhaps not yet committed
}

// New returns empty books. keys may be nil: then every key is kept in memory.
// Nothing is accepted before a policy is adopted.
func New(profile torq.Profile, origin string, keys Keys) *Book {
	one := torq.Uint128{Lo: unit}
	b := &Book{
		profile: profile, origin: origin, keys: keys,
		state:     State{D: unit, Y: one},
		wallets:   newTable(),
		policies:  newShelf[*policy.Document](),
		contracts: newShelf[Contract](),
		schedules: newShelf[Schedule](),
		notices:   newShelf[Notice](),
		bonds:     newShelf[Bond](),
	}
	b.pending.keys = make(map[string]Known)
	b.derived = derived{shapes: make(map[shape]uint64), matures: make(map[uint64][]uint64), booked: make(map[string]uint64)}
	return b
}

// Apply posts one command at the time now (Unix ms; a time before the last posting
// counts as that posting's). Either it returns an error and nothing changed, or the
// outcome with the posting. The same key with the same body returns the first
// result; with another body [CodeConflict].
//
// What is due by time comes first: while something is, Apply answers [CodeBehind].
// Call [Book.Advance] before.
func (b *Book) Apply(c Command, now uint64) (Outcome, error) {
	if b.dead != nil {
		return Outcome{}, b.dead
	}
	ready, err := prepare(c)
	if err != nil {
		return Outcome{}, err
	}
	if !isDue(c) {
		known, found, err := b.find(c.Key())
		switch {
		case err != nil:
			return Outcome{}, wrapf(CodeKeyLookup, err, "looking for %s", c.Key())
		case found && known.Fingerprint != ready.print:
			return Outcome{}, failf(CodeConflict, "%s was posted as number %d with another body", c.Key(), known.Seq)
		case found:
			return Outcome{Known: known, Repeated: true}, nil
		}
	}
	at, err := b.turn(c, max(now, b.state.Time))
	if err != nil {
		return Outcome{}, err
	}
	return b.post(c, ready, at)
}

// Advance posts everything that is due at the time now, in its order: ticks, what
// has matured, releases, ends of contracts, recalls.
func (b *Book) Advance(now uint64) ([]Outcome, error) {
	var made []Outcome
	for {
		c, at := b.Due(max(now, b.state.Time))
		if c == nil {
			return made, nil
		}
		out, err := b.Apply(c, at)
		if err != nil {
			return made, err
		}
		made = append(made, out)
	}
}

// turn is the time at which a command is posted, or the error that it is not its
// turn.
func (b *Book) turn(c Command, now uint64) (uint64, error) {
	_, adopting := c.(*Adopt)
	if b.state.Policies == 0 && !adopting {
		return 0, failf(CodePolicy, "no policy is adopted yet")
	}
	due, at := b.Due(now)
	switch {
	case due == nil && !isDue(c):
		return now, nil
	case due == nil:
		return 0, failf(CodeOutOfOrder, "%s is not due", c.Key())
	case !isDue(c):
		return 0, failf(CodeBehind, "%s is due first", due.Key())
	case due.Key() != c.Key():
		return 0, failf(CodeOutOfOrder, "%s is due before %s", due.Key(), c.Key())
	}
	return at, nil
}

func isDue(c Command) bool { return newDueCommand(c.Kind()) != nil }

func (b *Book) post(c Command, ready *prepared, at uint64) (Outcome, error) {
	out, err := b.perform(mayLoseCapital(c), func() error {
		if err := b.run(c, at); err != nil {
			return err
		}
		b.skipReleases(c, at)
		b.state.Time = at
		b.state.Seq++
		return nil
	})
	if err != nil {
		return Outcome{}, err
	}
	p := Posting{
		Seq: b.state.Seq, Kind: c.Kind(), Time: at, Key: c.Key(), Prev: b.state.Head,
		Entries: out.entries, Command: ready.encoded, Indices: changedIndices(&out.state, &b.state),
	}
	p.seal()
	b.state.Head = p.Hash
	known := Known{Seq: p.Seq, Hash: p.Hash, Time: at, Fingerprint: ready.print}
	b.pending.postings = append(b.pending.postings, p)
	if !isDue(c) {
		b.pending.keys[p.Key] = known
	}
	return Outcome{Known: known, Posting: &p, Members: out.payout.members, Each: out.payout.each}, nil
}

func changedIndices(before, after *State) *Indices {
	if before.D == after.D && before.U == after.U && before.Y == after.Y {
		return nil
	}
	return &Indices{D: after.D, U: after.U, Y: after.Y}
}

func mayLoseCapital(c Command) bool {
	kind := c.Kind()
	return kind == KindRecall || kind == KindRepay
}

// perform does something whole or not at all, and tests the invariants after it.
// It returns what was there before and the entries.
func (b *Book) perform(mayLoseCapital bool, do func() error) (undo, error) {
	b.undo = undo{state: b.state, wallets: b.undo.wallets[:0]}
	if err := do(); err != nil {
		b.rollback()
		if CodeOf(err) == CodeInvariant {
			b.dead = err
		}
		return undo{}, err
	}
	if err := b.checkInvariants(&b.undo.state, b.undo.entries, mayLoseCapital); err != nil {
		b.rollback()
		b.dead = err
		return undo{}, err
	}
	b.commit()
	return b.undo, nil
}

func (b *Book) rollback() {
	for _, s := range b.undo.wallets {
		*b.wallets.row(s.row) = s.old
	}
	b.state = b.undo.state
	b.policies.rollback()
	b.contracts.rollback()
	b.schedules.rollback()
	b.notices.rollback()
	b.bonds.rollback()
}

func (b *Book) commit() {
	for _, s := range b.undo.wallets {
		w := b.wallets.row(s.row)
		w.set(touched, false)
		if w.flags()&dirty == 0 {
			w.set(dirty, true)
			b.pending.rows = append(b.pending.rows, s.row)
		}
	}
	b.policies.commit()
	b.contracts.commit()
	b.schedules.commit()
	b.notices.commit()
	b.bonds.commit()
}

func (b *Book) find(key string) (Known, bool, error) {
	if known, ok := b.pending.keys[key]; ok {
		return known, true, nil
	}
	if known, ok := b.pending.drained[key]; ok {
		return known, true, nil
	}
	if b.keys == nil {
		return Known{}, false, nil
	}
	return b.keys.Find(key)
}

// run does what a command says.
func (b *Book) run(c Command, at uint64) error {
	switch c := c.(type) {
	case *Submit:
		return b.submit(c, at)
	case *Tick:
		return b.tick(c)
	case *Release:
		return b.release(c.At)
	case *Mint:
		return b.mint(c, at)
	case *Adopt:
		return b.adopt(c, at)
	case *Enrol:
		return b.enrolNew(c)
	case *SetStatus:
		return b.setStatus(c)
	case *Award:
		return b.award(c, at)
	case *Fund:
		return b.fund(c, at)
	case *Accept:
		return b.accept(c)
	case *Abandon:
		return b.abandon(c)
	case *Close:
		return b.close(c, at)
	case *End:
		return b.end(c)
	case *Mature:
		return b.mature(c)
	case *Recall:
		return b.recall(c, at)
	case *Repay:
		return b.repay(c)
	case *Redeem:
		return b.redeem(c)
	case *Reissue:
		return b.reissue(c, at)
	}
	return failf(CodeMalformed, "no command %T", c)
}

// adopt lets a policy hold. The first starts the books.
func (b *Book) adopt(c *Adopt, at uint64) error {
	next, err := policy.Decode(c.Document)
	if err != nil {
		return wrapf(CodePolicy, err, "policy")
	}
	if next.Origin != b.origin {
		return failf(CodePolicy, "the policy is for %q, this is %q", next.Origin, b.origin)
	}
	if b.state.Policies == 0 {
		if next.Version != 1 {
			return failf(CodePolicy, "the first policy is version 1, not %d", next.Version)
		}
		b.state.Hour = at / policy.Hour
		b.state.Released = at / next.ReleaseEvery * next.ReleaseEvery
	} else if err := b.follows(next); err != nil {
		return err
	}
	b.state.Policies++
	b.policies.set(next.Version, &next)
	return nil
}

// typePolicy is the payload type under which a policy's digest is computed.
const typePolicy = "application/vnd.robotorq.policy.v1+json"

// follows tests whether a policy may follow the last. One that comes after its
// effective_ms (the books were down) holds from its posting on: refused it would
// bring them to a stop.
func (b *Book) follows(next policy.Document) error {
	last, _ := b.policies.get(b.state.Policies)
	encoded, err := last.Encode()
	if err != nil {
		return wrapf(CodePolicy, err, "policy")
	}
	digest := seal.Digest(typePolicy, encoded).String()
	if err := policy.CheckNext(*last, digest, next); err != nil {
		return wrapf(CodePolicy, err, "policy")
	}
	return nil
}

// Policy is the document that holds at a time; nil before the first is adopted. It
// must not be changed.
func (b *Book) Policy(at uint64) *policy.Document {
	for version := b.state.Policies; version > 0; version-- {
		if d, ok := b.policies.get(version); ok && (d.Effective <= at || version == 1) {
			return d
		}
	}
	return nil
}
