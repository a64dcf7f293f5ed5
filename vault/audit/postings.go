package audit

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/vault"
)

// lagMS is how long before its posting the vault may have looked at the clock, at
// an owner's keys or at a robot's rating.
const lagMS = 60_000

// books are the books made again, and what was counted on the way.
type books struct {
	auditor    *ledger.Auditor
	last       ledger.Posting
	next       int               // of logged.commands
	versions   map[string]rekey  // of accounts' enrolments, as posted
	bonds      int               // artefacts in the log that are found right
	bondIssued map[uint64]uint64 // issued_ms of a bond's last artefact, by serial
	funded     map[uint64]deal   // by contract
	tallies    map[uint64]*tally
	closed     map[uint64]uint64 // posting that closed a contract
	accepted   map[uint64]stamp  // posting that says that a contract's work is all accepted
	lines      uint64            // rows of vault_entry so far
	each       torq.JT           // of all dividends, to one member
	receipts   uint64            // so far
}

// rekey says which version of an enrolment holds, and since when.
type rekey struct{ version, since uint64 }

// stamp is a posting's number and time.
type stamp struct{ seq, time uint64 }

// deal is what the books say of a contract.
type deal struct {
	terms     ledger.Terms
	award     uint64 // posting
	fund      uint64 // posting, 0 while only awarded
	vaultPart torq.JT
	at        uint64
}

// stored is a row of vault_posting.
type stored struct {
	seq, time   uint64
	kind, key   string
	hash, print []byte
	body        []byte
}

// former finds postings that were checked before by their key.
type former struct {
	ctx context.Context
	a   *auditor
}

// Find implements [ledger.Keys].
func (f former) Find(key string) (known ledger.Known, found bool, err error) {
	var hash, print []byte
	err = f.a.tx.QueryRowContext(f.ctx, "SELECT seq, time, hash, fingerprint FROM vault_posting WHERE key = ? AND seq <= ?", key, int64(f.a.books.last.Seq)).
		Scan(&known.Seq, &known.Time, &hash, &print)
	if errors.Is(err, sql.ErrNoRows) {
		return known, false, nil
	}
	copy(known.Hash[:], hash)
	copy(known.Fingerprint[:], print)
	return known, err == nil, err
}

// runPostings runs every posting again.
func (a *auditor) runPostings(ctx context.Context) error {
	a.books = books{versions: map[string]rekey{}, funded: map[uint64]deal{}, tallies: map[uint64]*tally{}, closed: map[uint64]uint64{}, accepted: map[uint64]stamp{}}
	a.books.bondIssued = map[uint64]uint64{}
	if err := a.keepReceipts(); err != nil {
		return err
	}
	if err := a.readStatements(ctx); err != nil {
		return err
	}
	a.books.auditor = ledger.NewAuditor(a.opts.Profile, a.sum.Origin, former{ctx, a})
	for {
		page, err := a.page(ctx)
		if err != nil {
			return err
		}
		for _, s := range page {
			if err := a.posting(ctx, s); err != nil {
				return err
			}
			a.opts.progress("postings", s.seq, a.total)
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		if len(page) < pageOf {
			return a.allRead()
		}
	}
}

// allRead tests that every row was read: one that is numbered below 1 is of no chain, and
// its key would still answer for what was never posted.
func (a *auditor) allRead() error {
	if read := a.books.last.Seq; read != a.total {
		return fault("vault_posting", "surplus", "the store has %d postings, and %d are numbered from 1 on", a.total, read)
	}
	return nil
}

// pageOf is how many postings are read at once. While rows are read a server's connection
// answers nothing else, and each posting is compared with other tables.
const pageOf = 256

// page is the next postings of the store.
func (a *auditor) page(ctx context.Context) (page []stored, err error) {
	last := a.books.last.Seq
	rows, err := a.tx.QueryContext(ctx, "SELECT seq, time, kind, key, hash, fingerprint, body FROM vault_posting WHERE seq > ? ORDER BY seq LIMIT ?", int64(last), pageOf)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s stored
		if err := rows.Scan(&s.seq, &s.time, &s.kind, &s.key, &s.hash, &s.print, &s.body); err != nil {
			return nil, unreadable(fmt.Sprintf("posting %d", last+uint64(len(page))+1), err)
		}
		page = append(page, s)
	}
	return page, rows.Err()
}

// unreadable is a fault when a row's values are not what they should be; an error
// of the store stays what it is.
func unreadable(what string, err error) error {
	if store.CodeOf(err) != "" || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fault(what, "form", "%v", err)
}

// posting checks one posting and all that hangs on it.
func (a *auditor) posting(ctx context.Context, s stored) error {
	b := &a.books
	if want := b.last.Seq + 1; s.seq != want {
		return postingFault(want, "missing", "the store goes on with number %d", s.seq)
	}
	p, err := ledger.DecodePosting(s.body)
	if err != nil {
		return postingFault(s.seq, "form", "%v", err)
	}
	if err := s.check(p); err != nil {
		return err
	}
	c, err := ledger.DecodeCommand(p.Command)
	if err != nil {
		return postingFault(s.seq, "form", "%v", err)
	}
	if err := a.before(p, c); err != nil {
		return err
	}
	state := b.auditor.Book().State()
	issued, touched := a.bondsBefore(c)
	if err := b.auditor.Feed(p); err != nil {
		if ledger.CodeOf(err) == ledger.CodeMismatch {
			return postingFault(s.seq, "replay", "%s", strings.TrimPrefix(detail(err), fmt.Sprintf("posting %d: ", s.seq)))
		}
		return err
	}
	b.last = p
	if err := a.fingerprint(s, c); err != nil {
		return err
	}
	if err := a.checkBonds(p, issued, touched); err != nil {
		return err
	}
	return a.after(ctx, p, c, state)
}

// detail is an error of the ledger without its code.
func detail(err error) string {
	var e *ledger.Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	if e.Err != nil {
		return e.Detail + ": " + e.Err.Error()
	}
	return e.Detail
}

// check compares the columns of a row with its body.
func (s stored) check(p ledger.Posting) error {
	switch {
	case p.Seq != s.seq:
		return postingFault(s.seq, "stored_seq", "its body is that of number %d", p.Seq)
	case !bytes.Equal(p.Hash[:], s.hash):
		return postingFault(s.seq, "stored_hash", "its body has hash %s, the store says %x", p.Hash, s.hash)
	case p.Time != s.time:
		return postingFault(s.seq, "stored_time", "its body says %d, the store %d", p.Time, s.time)
	case string(p.Kind) != s.kind:
		return postingFault(s.seq, "stored_kind", "its body says %q, the store %q", p.Kind, s.kind)
	case p.Key != s.key:
		return postingFault(s.seq, "stored_key", "its body says %q, the store %q", p.Key, s.key)
	}
	return nil
}

// fingerprint compares what the store remembers of a command. What was just posted
// is asked for again: the books answer with what they remember.
func (a *auditor) fingerprint(s stored, c ledger.Command) error {
	if dueByTime(c) {
		if s.print != nil {
			return postingFault(s.seq, "stored_fingerprint", "the store keeps one of a command that is never asked for again")
		}
		return nil
	}
	again, err := a.books.auditor.Book().Apply(c, s.time)
	if err != nil {
		return err
	}
	if !again.Repeated || !bytes.Equal(again.Fingerprint[:], s.print) {
		return postingFault(s.seq, "stored_fingerprint", "its command has %s, the store says %x", again.Fingerprint, s.print)
	}
	return nil
}

func dueByTime(c ledger.Command) bool {
	switch c.Kind() {
	case ledger.KindTick, ledger.KindMature, ledger.KindRelease, ledger.KindEnd, ledger.KindRepay:
		return true
	}
	return false
}

// before checks what must hold for a command to be posted at all.
func (a *auditor) before(p ledger.Posting, c ledger.Command) error {
	b := &a.books
	switch c := c.(type) {
	case *ledger.Adopt, *ledger.Mint:
		return a.called(p)
	case *ledger.Enrol:
		b.versions[c.Account] = rekey{1, p.Time}
		return a.called(p)
	case *ledger.SetStatus:
		b.versions[c.Account] = rekey{c.Version, p.Time}
		return a.called(p)
	case *ledger.Submit:
		return a.checkOrder(p, c)
	case *ledger.Redeem:
		return a.checkClaim(p, c.Serial, c.Proof, func(k claimed) error { return k.redeems(c.Payee, p.Time) })
	case *ledger.Reissue:
		return a.checkClaim(p, c.Serial, c.Proof, func(k claimed) error { return k.reissues(c, p.Time) })
	case *ledger.Award:
		b.funded[c.Terms.Number] = deal{terms: c.Terms, award: p.Seq}
		return a.checkAward(p, c)
	case *ledger.Fund:
		d := b.funded[c.Contract]
		d.fund, d.vaultPart, d.at = p.Seq, c.VaultPart, p.Time
		b.funded[c.Contract] = d
		return a.checkFund(p, c)
	case *ledger.Accept:
		b.accepted[c.Contract] = stamp{p.Seq, p.Time}
	case *ledger.Close:
		return a.checkClose(p, c)
	case *ledger.Recall:
		return a.checkRecall(p, c)
	}
	return nil
}

// called checks that a posting is the next one that the log calls for.
func (a *auditor) called(p ledger.Posting) error {
	b := &a.books
	if b.next == len(a.log.commands) {
		return postingFault(p.Seq, "unlogged", "%s: the log holds nothing that calls for it", p.Key)
	}
	want := a.log.commands[b.next]
	if !bytes.Equal(p.Command, want.command) {
		c, err := ledger.DecodeCommand(want.command)
		if err != nil {
			return err
		}
		return postingFault(p.Seq, "log_order", "posts %s; what the log calls for next is %s (entry %d: %s)", p.Key, c.Key(), want.entry, want.what)
	}
	b.next++
	return nil
}

// checkOrder verifies an order's signatures by the keys that were enrolled when it
// was posted.
func (a *auditor) checkOrder(p ledger.Posting, c *ledger.Submit) error {
	order, err := ledger.OrderFrom(c.Envelope)
	if err != nil {
		return postingFault(p.Seq, "order", "%s", detail(err))
	}
	role, id, _ := strings.Cut(order.From, ":")
	versions := a.history(role, id)
	now := a.books.versions[order.From]
	early := p.Time - min(p.Time, lagMS)
	var first error
	for _, at := range []struct{ version, time uint64 }{{now.version, p.Time}, {now.version, early}, {now.version - 1, early}} {
		if at.version == 0 || at.version > uint64(len(versions)) || at.version < now.version && now.since+lagMS < p.Time {
			continue
		}
		if _, err = ledger.CheckOrder(c.Envelope, a.sum.Origin, a.keysAt(role, id, at.version, at.time), at.time); err == nil {
			a.sum.Orders++
			return nil
		}
		if first == nil {
			first = err
		}
	}
	if first == nil {
		return postingFault(p.Seq, "order", "%s was not enrolled when it was posted", order.From)
	}
	return postingFault(p.Seq, "order", "%s: %s", ledger.CodeOf(first), detail(first))
}

// checkAward makes the vault check again.
func (a *auditor) checkAward(p ledger.Posting, c *ledger.Award) error {
	book, robots := a.books.auditor.Book(), c.Terms.Robots
	err := book.CheckContract(c, vault.Ratings(a.log.registry, robots, p.Time), p.Time)
	if err == nil || book.CheckContract(c, vault.Ratings(a.log.registry, robots, p.Time-min(p.Time, lagMS)), p.Time) == nil {
		return nil
	}
	return postingFault(p.Seq, "vault_check", "%s", detail(err))
}

// after checks what the vault says of a posting: to everybody, to the orderer, and
// in its own tables.
func (a *auditor) after(ctx context.Context, p ledger.Posting, c ledger.Command, before ledger.State) error {
	if err := a.recount(p, c); err != nil {
		return err
	}
	members, each := a.dividend(p, before)
	if err := a.checkWord(p, c, members, each); err != nil {
		return err
	}
	if err := a.checkHead(p); err != nil {
		return err
	}
	if err := a.checkLines(ctx, p); err != nil {
		return err
	}
	if err := a.checkKept(p, c); err != nil {
		return err
	}
	if err := a.checkStatement(ctx, p.Seq, p.Time); err != nil {
		return err
	}
	switch c := c.(type) {
	case *ledger.Submit:
		if err := a.checkObjections(ctx, p, c.Order()); err != nil {
			return err
		}
		return a.checkReceipt(ctx, p, c)
	case *ledger.Mint:
		return a.checkMint(ctx, p, c.Serial)
	case *ledger.Release:
		if members > 0 {
			return a.checkDividend(ctx, p, members, each)
		}
	}
	return nil
}

// dividend is what a release paid: to how many, and how much to each, from how far
// the shares of every member rose.
func (a *auditor) dividend(p ledger.Posting, before ledger.State) (members uint64, each torq.JT) {
	state := a.books.auditor.Book().State()
	if p.Kind != ledger.KindRelease || state.U == before.U {
		return 0, 0
	}
	return before.Eligible, valueOf(state.U, before.U, state.D)
}

// checkWord compares a posting with what the vault says of it in the log.
func (a *auditor) checkWord(p ledger.Posting, c ledger.Command, members uint64, each torq.JT) error {
	want := proof.Distribution{Origin: a.sum.Origin, Seq: p.Seq, Posting: p.Hash}
	ore := a.opts.Profile.CertificateOre()
	switch c := c.(type) {
	case *ledger.Mint:
		want.Kind, want.Subject, want.Amount = proof.KindMint, c.Serial, ore
	case *ledger.Recall:
		if len(p.Entries) > 0 { // else it is in dispute
			want.Kind, want.Subject, want.Amount = proof.KindRecall, c.Serial, ore
		}
	case *ledger.Repay:
		want.Kind, want.Subject, want.Amount = proof.KindRecall, c.Serial, ore
	case *ledger.Tick:
		want.Kind = proof.KindDemurrage
		for _, e := range p.Entries {
			if e.Account == "wallets" && e.Amount < 0 {
				want.Amount += uint64(-e.Amount)
			}
		}
	case *ledger.Release:
		if members > 0 {
			want.Kind, want.Amount, want.Members = proof.KindDividend, uint64(each)*members, members
		}
	}
	w, found := a.log.distributions[p.Seq]
	switch {
	case want.Kind == "" && !found:
		return nil
	case want.Kind == "":
		return postingFault(p.Seq, "distribution", "log entry %d tells of a %s; this is a posting of kind %s", w.entry, w.says.Kind, p.Kind)
	case !found && p.Seq <= a.log.lastWord:
		return postingFault(p.Seq, "distribution", "its %s is not in the log, though later ones are", want.Kind)
	case !found:
		a.sum.Unlogged++
		return nil
	case w.says.Issued < p.Time:
		return postingFault(p.Seq, "distribution", "was made at %d; log entry %d is of %d", p.Time, w.entry, w.says.Issued)
	}
	want.Issued = w.says.Issued // when the vault came to say it
	if !bytes.Equal(w.says.Encode(), want.Encode()) {
		return postingFault(p.Seq, "distribution", "log entry %d says %s; the posting makes it %s", w.entry, say(w.says), say(want))
	}
	delete(a.log.distributions, p.Seq)
	return nil
}

func say(d proof.Distribution) string {
	return fmt.Sprintf("%s of %d JT (subject %d, %d members) at %d by posting %s", d.Kind, d.Amount, d.Subject, d.Members, d.Issued, d.Posting)
}

// checkHead compares a posting with a head that was logged.
func (a *auditor) checkHead(p ledger.Posting) error {
	h, found := a.log.heads[p.Seq]
	switch {
	case found && h.says.Posting != p.Hash:
		return postingFault(p.Seq, "head", "has hash %s; log entry %d, signed by the vault, says %s", p.Hash, h.entry, h.says.Posting)
	case found && h.says.Issued < p.Time:
		return postingFault(p.Seq, "head", "was made at %d; log entry %d is of %d", p.Time, h.entry, h.says.Issued)
	case !found && p.Kind == ledger.KindTick && p.Seq <= a.log.lastHead:
		return postingFault(p.Seq, "head", "the head of its hour is not in the log, though later ones are")
	case !found && p.Kind == ledger.KindTick:
		a.sum.Unlogged++
	}
	delete(a.log.heads, p.Seq)
	return nil
}

// checkEnds looks at what is left over on either side, and at the sums.
func (a *auditor) checkEnds(ctx context.Context) error {
	b, l := &a.books, &a.log
	if err := a.checkLeftWords(); err != nil {
		return err
	}
	for _, left := range []func() error{a.checkLeftReceipts, a.checkLeftBonds, func() error { return a.checkLeftStatements(ctx) }, func() error { return a.checkDone(ctx) }} {
		if err := left(); err != nil {
			return err
		}
	}
	a.sum.Unposted = uint64(len(l.commands) - b.next)
	if err := a.checkContracts(); err != nil {
		return err
	}
	if err := a.countPours(ctx); err != nil {
		return err
	}
	if err := a.checkClosings(); err != nil {
		return err
	}
	if err := a.checkAccepted(); err != nil {
		return err
	}
	s := b.auditor.Book().State()
	a.sum.Postings, a.sum.Head, a.sum.Time = s.Seq, s.Head, s.Time
	a.sum.Certificates, a.sum.Recalled, a.sum.Supply, a.sum.Capital = s.Certificates, s.Recalled, s.Supply(), s.Capital()
	a.sum.Wallets, a.sum.Members = s.Accounts, s.Eligible
	a.sum.Disputed, a.sum.Policies, a.sum.Closings = uint64(len(s.Disputed)), s.Policies, uint64(len(b.closed))
	if want := torq.JT((s.Certificates - s.Recalled) * a.opts.Profile.CertificateOre()); s.Supply() != want {
		return fault("supply", "supply", "is %d JT, the certificates make it %d", s.Supply(), want)
	}
	if s.Certificates > l.serial {
		return fault("supply", "supply", "%d certificates are minted, %d are logged", s.Certificates, l.serial)
	}
	return a.countReceipts(ctx)
}

// checkLeftWords finds words of the vault about postings that are not there.
func (a *auditor) checkLeftWords() error {
	for _, seq := range slices.Sorted(maps.Keys(a.log.distributions)) {
		if w := a.log.distributions[seq]; w.entry < a.log.before || seq <= a.books.last.Seq {
			return postingFault(seq, "missing", "log entry %d, signed by the vault, tells of it; the books end with number %d", w.entry, a.books.last.Seq)
		}
	}
	for _, seq := range slices.Sorted(maps.Keys(a.log.heads)) {
		h := a.log.heads[seq]
		if seq == 0 && h.says.Posting.IsZero() {
			continue
		}
		if h.entry < a.log.before || seq <= a.books.last.Seq {
			return postingFault(seq, "missing", "log entry %d, signed by the vault, names it as the head; the books end with number %d", h.entry, a.books.last.Seq)
		}
	}
	return nil
}

// checkContracts compares what was awarded and funded with the signed contracts.
func (a *auditor) checkContracts() error {
	highest := uint64(0)
	for _, c := range a.log.registry.Contracts() {
		_, number, err := proof.ParseContractID(c.ID)
		if err != nil {
			return err
		}
		highest = max(highest, number)
		d, found := a.books.funded[number]
		if !found || d.fund == 0 {
			if entry := a.log.contracts[number]; entry < a.log.before {
				return fault(fmt.Sprintf("contract %d", number), "not_funded", "log entry %d says that it is funded; no posting funds it", entry)
			}
			continue
		}
		if err := d.compare(c, number); err != nil {
			return err
		}
		a.sum.Contracts++
	}
	for _, number := range slices.Sorted(maps.Keys(a.books.funded)) {
		d := a.books.funded[number]
		if _, found := a.log.contracts[number]; found || d.fund == 0 {
			continue
		}
		if number < highest {
			return postingFault(d.fund, "unlogged", "funds contract %d, which is not in the log, though contract %d is", number, highest)
		}
		a.sum.Unlogged++ // funded just now, signed next
	}
	return nil
}

// compare names the first difference between what was posted and what was signed.
func (d deal) compare(c proof.Contract, number uint64) error {
	type pair struct {
		posting      uint64
		name         string
		posted, sign any
	}
	for _, p := range []pair{
		{d.award, "enterprise", d.terms.Enterprise, seal.RoleOrg + ":" + c.Enterprise},
		{d.award, "robots", strings.Join(d.terms.Robots, " "), strings.Join(c.Robots, " ")},
		{d.award, "work", d.terms.Work, c.Work},
		{d.award, "stake", uint64(d.terms.Stake), c.Stake},
		{d.award, "release", d.terms.Release, c.Release.Name},
		{d.award, "release duration", d.terms.Duration, c.Release.Parameter},
		{d.award, "date to market", d.terms.DateToMarket, c.DateToMarket},
		{d.award, "deadline", d.terms.Deadline, c.Deadline},
		{d.fund, "vault part", uint64(d.vaultPart), c.VaultPart},
		{d.fund, "time of funding", d.at, c.Funded},
	} {
		if p.posted != p.sign {
			return postingFault(p.posting, "contract", "%s of contract %d is %v, the signed contract says %v", p.name, number, p.posted, p.sign)
		}
	}
	return nil
}

// checkReceipt verifies the receipt of an order. One of the last orders may be without:
// receipts are signed beside the writer.
func (a *auditor) checkReceipt(ctx context.Context, p ledger.Posting, c *ledger.Submit) error {
	var raw []byte
	err := a.tx.QueryRowContext(ctx, "SELECT envelope FROM vault_receipt WHERE key = ?", p.Key).Scan(&raw)
	if errors.Is(err, sql.ErrNoRows) && a.mayLackReceipt(p) {
		return nil
	}
	if errors.Is(err, sql.ErrNoRows) {
		return postingFault(p.Seq, "receipt_missing", "it posts an order, and the vault has signed no receipt of it")
	}
	if err != nil {
		return unreadable(fmt.Sprintf("receipt of posting %d", p.Seq), err)
	}
	env, err := seal.DecodeEnvelope(raw)
	if err != nil {
		return postingFault(p.Seq, "receipt", "%v", err)
	}
	r, err := proof.DecodeReceipt(env.Payload)
	if err != nil || env.PayloadType != proof.TypeReceipt {
		return postingFault(p.Seq, "receipt", "not a receipt: %v", err)
	}
	order, err := ledger.OrderFrom(c.Envelope)
	if err != nil {
		return err
	}
	want := proof.Receipt{Origin: a.sum.Origin, Order: order.ID, Seq: p.Seq, Posting: p.Hash, Issued: r.Issued}
	if r.Issued < p.Time || !bytes.Equal(r.Encode(), want.Encode()) {
		return postingFault(p.Seq, "receipt", "says order %x is posting %d with hash %s at %d; it is posting %d with hash %s at %d", r.Order, r.Seq, r.Posting, r.Issued, p.Seq, p.Hash, p.Time)
	}
	if err := a.log.registry.VerifySigned(env, seal.RoleVault, "", r.Issued); err != nil {
		return postingFault(p.Seq, "receipt", "%v", err)
	}
	a.books.receipts++
	return nil
}
