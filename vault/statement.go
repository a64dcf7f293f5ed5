package vault

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// LineKind says what a line of a statement is.
type LineKind string

// Kinds of lines.
const (
	LineReceived  LineKind = "received"
	LineSent      LineKind = "sent"
	LineDividend  LineKind = "dividend"
	LineDemurrage LineKind = "demurrage"
	LineSaved     LineKind = "saved"     // into savings
	LineWithdrawn LineKind = "withdrawn" // out of savings, after their notice
	LineBond      LineKind = "bond"      // locked with its fee, or redeemed
	LineInvested  LineKind = "invested"
	LineReturned  LineKind = "returned" // of an investment or a deposit
	LineYield     LineKind = "yield"    // of savings
)

// StatementLine is one movement of a wallet.
type StatementLine struct {
	Posting uint64 // that made it; of a dividend or demurrage: by which it is counted
	Time    uint64 // of that posting, Unix ms
	Kind    LineKind
	Amount  torq.JT // negative goes out
	Balance torq.JT // afterwards
	Other   string  // the other account, in the names of postings
	Memo    string
	Order   string // id of the order, 32 hexadecimal digits; "" if there was none
	// Unsettled: counted up to the newest posting and in no posting of the account yet;
	// it goes on until the next movement settles it.
	Unsettled bool
}

// Place is a place in the statement of one wallet; the zero Place is its newest
// end. Places stay valid: what is posted later lies before them.
type Place struct {
	Seq  uint64 // of a posting
	Skip int    // lines of it that lie before
}

// StatementPage is a part of a statement, newest line first.
type StatementPage struct {
	Lines []StatementLine
	Next  Place // where the page after it begins; zero when there is none
}

// Statement lists at most limit lines of a member's or an organisation's wallet, or of
// its savings (`savings:member:ada`), from a place on, newest first. The error is a [*ledger.Error] of code
// unknown_account when there is no such wallet, malformed when the place is none
// of it.
//
// Neither dividends nor demurrage touch a wallet when they are posted; between two
// movements they are one line each: the dividends that this member had a part in,
// and as demurrage whatever else the balance lost. What was not settled by a
// movement yet is counted by the last posting of the books. All lines together sum
// to the balance as it was when the first page was asked for. (Where the fractions
// of a JT that a wallet holds add up to one more than it lost, that JT is counted
// to the dividend.)
func (s *Station) Statement(ctx context.Context, account string, from Place, limit int) (StatementPage, error) {
	now, err := s.standing(account)
	if err != nil {
		return StatementPage{}, err
	}
	if from == (Place{}) {
		from.Seq = now.seq
	} else if from.Seq > now.seq || from.Skip < 0 || from.Skip > maxLines {
		return StatementPage{}, noPlace()
	}
	r := &statement{reading: reading{account: account, sums: map[uint64]torq.JT{}}, from: from, limit: max(limit, 1)}
	err = s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
		r.tx = tx
		return r.read(ctx, now)
	})
	return StatementPage{Lines: r.lines, Next: r.next}, err
}

// maxLines is more lines than a posting has for one wallet.
const maxLines = 4 * ledger.MaxOperations

func noPlace() error {
	return &ledger.Error{Code: ledger.CodeMalformed, Detail: "that is no place in this statement", Operation: -1}
}

// Totals is what has moved through a wallet up to a posting:
// Balance = Received − Sent + Dividend − Demurrage.
type Totals struct {
	Seq       uint64 // the last posting that is counted
	Time      uint64 // of it, Unix ms
	Balance   torq.JT
	Received  torq.JT // all that came in by postings, withdrawn savings included
	Sent      torq.JT // all that went out by postings, into savings included
	Dividend  torq.JT
	Demurrage torq.JT
}

// Totals sums a wallet up. known is an earlier answer for the same account from
// which it continues, or the zero Totals. The error is as for [Station.Statement].
func (s *Station) Totals(ctx context.Context, account string, known Totals) (Totals, error) {
	now, err := s.standing(account)
	if err != nil {
		return Totals{}, err
	}
	if known.Seq > now.seq {
		known = Totals{}
	}
	t := Totals{Seq: now.seq, Time: now.time, Balance: now.balance}
	err = s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var in, out int64
		err := tx.QueryRowContext(ctx, `SELECT coalesce(sum(CASE WHEN amount > 0 THEN amount END), 0), coalesce(sum(CASE WHEN amount < 0 THEN amount END), 0)
			FROM vault_entry WHERE account = ? AND seq > ? AND seq <= ?`, account, int64(known.Seq), int64(now.seq)).Scan(&in, &out)
		if err != nil {
			return err
		}
		t.Received, t.Sent = known.Received+torq.JT(in), known.Sent-torq.JT(out)
		r := reading{tx: tx, account: account, sums: map[uint64]torq.JT{}}
		if err := r.eligibility(ctx); err != nil {
			return err
		}
		t.Dividend, err = r.dividends(ctx, 0, now.seq)
		return err
	})
	t.Dividend, t.Demurrage = settle(t.Received-t.Sent, t.Dividend, t.Balance)
	return t, err
}

// settle explains how a balance before became the balance now when the wallet had a
// part in dividends: by these and by demurrage.
func settle(before, dividends, now torq.JT) (dividend, demurrage torq.JT) {
	lost := before + dividends - now
	if lost < 0 {
		return dividends - lost, 0
	}
	return dividends, lost
}

// standing is what the books say of a wallet now.
type standing struct {
	balance   torq.JT
	seq, time uint64
}

func (s *Station) standing(account string) (now standing, err error) {
	s.With(func(b *ledger.Book, _ *proof.Registry) {
		if err = s.readable(); err != nil {
			return
		}
		balance, found := balanceOf(b, account)
		if !found {
			err = &ledger.Error{Code: ledger.CodeUnknownAccount, Detail: fmt.Sprintf("there is no account %q", account), Operation: -1}
			return
		}
		state := b.State()
		now = standing{balance: balance, seq: state.Seq, time: state.Time}
	})
	return now, err
}

// reading is what is read of one wallet in one transaction.
type reading struct {
	tx       *sql.Tx
	account  string
	eligible []period
	sums     map[uint64]torq.JT // of all dividends to one member, by posting
}

// period is a time of a member's life, by postings: dividends between them count.
type period struct{ after, until uint64 }

const forever = 1<<63 - 1

// eligibility finds out when the account had a part in dividends, from the postings
// of its enrolment and of its status.
func (r *reading) eligibility(ctx context.Context) error {
	if !strings.HasPrefix(r.account, seal.RoleMember+":") {
		return nil
	}
	// Keys are "enrol/<account>/…" and "status/<account>/…"; "0" follows "/".
	rows, err := r.tx.QueryContext(ctx, `SELECT body FROM vault_posting
		WHERE key > ?1 AND key < ?2 OR key > ?3 AND key < ?4 ORDER BY seq`,
		"enrol/"+r.account+"/", "enrol/"+r.account+"0", "status/"+r.account+"/", "status/"+r.account+"0")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var body []byte
		if err := rows.Scan(&body); err != nil {
			return err
		}
		p, err := ledger.DecodePosting(body)
		if err != nil {
			return err
		}
		c, err := ledger.DecodeCommand(p.Command)
		if err != nil {
			return err
		}
		r.follow(p.Seq, c)
	}
	return rows.Err()
}

func (r *reading) follow(seq uint64, c ledger.Command) {
	n := len(r.eligible)
	open := n > 0 && r.eligible[n-1].until == forever
	status := ledger.StatusActive
	if set, ok := c.(*ledger.SetStatus); ok {
		status = set.Status
	}
	switch {
	case status == ledger.StatusActive && !open:
		r.eligible = append(r.eligible, period{after: seq, until: forever})
	case status == ledger.StatusLeft && open:
		r.eligible[n-1].until = seq
	}
}

// dividends is what the account received of dividends after one posting, up to
// another.
func (r *reading) dividends(ctx context.Context, after, until uint64) (sum torq.JT, err error) {
	for _, p := range r.eligible {
		first, last := max(after, p.after), min(until, p.until)
		if first >= last {
			continue
		}
		before, err := r.sumAt(ctx, first)
		if err != nil {
			return 0, err
		}
		now, err := r.sumAt(ctx, last)
		if err != nil {
			return 0, err
		}
		sum += now - before
	}
	return sum, nil
}

// sumAt is what one member would have received of all dividends up to a posting.
func (r *reading) sumAt(ctx context.Context, seq uint64) (torq.JT, error) {
	if sum, ok := r.sums[seq]; ok {
		return sum, nil
	}
	var sum int64
	err := r.tx.QueryRowContext(ctx, "SELECT sum FROM vault_dividend WHERE seq <= ? ORDER BY seq DESC LIMIT 1", int64(seq)).Scan(&sum)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, err
	}
	r.sums[seq] = torq.JT(sum)
	return torq.JT(sum), nil
}

// statement puts one page together.
type statement struct {
	reading
	from  Place
	limit int

	lines []StatementLine
	index int // of the next line among those of its posting
	group uint64
	next  Place

	running bool // what is added is not settled yet

	posting ledger.Posting // the one that was read last
	order   *ledger.Order  // in it
}

// row is a movement as it is stored.
type row struct {
	seq             uint64
	line            int
	amount, balance torq.JT
}

// before is the balance before a movement.
func (m row) before() torq.JT { return m.balance - m.amount }

// full reports whether the page and the first line after it are known.
func (r *statement) full() bool { return r.next != (Place{}) }

// add takes the next line of a posting, unless the page begins behind it.
func (r *statement) add(l StatementLine) {
	l.Unsettled = r.running
	if r.group != l.Posting {
		r.group, r.index = l.Posting, 0
	}
	at := Place{Seq: l.Posting, Skip: r.index}
	r.index++
	switch {
	case r.full(), at.Seq == r.from.Seq && at.Skip < r.from.Skip:
	case len(r.lines) == r.limit:
		r.next = at
	default:
		r.lines = append(r.lines, l)
	}
}

// read walks over the wallet's movements from the newest to the oldest that the
// page needs, and over what happened between them.
func (r *statement) read(ctx context.Context, now standing) error {
	if err := r.eligibility(ctx); err != nil {
		return err
	}
	rows, err := r.rows(ctx)
	if err != nil {
		return err
	}
	var oldest row
	if len(rows) > 0 {
		oldest = rows[0]
	}
	if oldest.seq != r.from.Seq {
		if err := r.unsettled(ctx, now, oldest); err != nil {
			return err
		}
	}
	for i, m := range rows {
		if r.full() {
			return nil
		}
		if err := r.movement(ctx, m); err != nil {
			return err
		}
		var older row
		if i+1 < len(rows) {
			older = rows[i+1]
		}
		if older.seq == m.seq {
			continue
		}
		if err := r.between(ctx, older, m.seq, m.before()); err != nil {
			return err
		}
	}
	return nil
}

// rows are the movements of the page and one more, so that the balance before the
// page's last one is known.
func (r *statement) rows(ctx context.Context) (all []row, err error) {
	rows, err := r.tx.QueryContext(ctx, `SELECT seq, line, amount, balance FROM vault_entry
		WHERE account = ? AND seq <= ? ORDER BY seq DESC, line DESC LIMIT ?`, r.account, int64(r.from.Seq), r.from.Skip+r.limit+2)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var m row
		if err := rows.Scan(&m.seq, &m.line, &m.amount, &m.balance); err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, rows.Err()
}

// unsettled lists what has happened since the last movement. A page that begins in
// the middle of it has only the dividend left.
func (r *statement) unsettled(ctx context.Context, now standing, last row) error {
	if r.from.Skip == 0 && r.from.Seq == now.seq {
		return r.sinceThen(ctx, last, now.seq, now.balance)
	}
	if r.from.Skip != 1 {
		return noPlace()
	}
	dividends, err := r.dividends(ctx, last.seq, r.from.Seq)
	if err != nil {
		return err
	}
	return r.sinceThen(ctx, last, r.from.Seq, last.balance+dividends-1) // a demurrage that is skipped
}

// sinceThen is between, of what no movement has settled yet.
func (r *statement) sinceThen(ctx context.Context, older row, seq uint64, now torq.JT) error {
	r.running = true
	defer func() { r.running = false }()
	return r.between(ctx, older, seq, now)
}

// between lists demurrage and dividends between a movement and a later posting
// before which the balance is known, newest first.
func (r *statement) between(ctx context.Context, older row, seq uint64, now torq.JT) error {
	dividends, err := r.dividends(ctx, older.seq, seq)
	if err != nil {
		return err
	}
	dividend, demurrage := settle(older.balance, dividends, now)
	if dividend == 0 && demurrage == 0 {
		return nil
	}
	if err := r.open(ctx, seq); err != nil {
		return err
	}
	if demurrage != 0 {
		r.add(StatementLine{Posting: seq, Time: r.posting.Time, Kind: LineDemurrage, Amount: -demurrage, Balance: now})
	}
	if dividend != 0 {
		r.add(StatementLine{Posting: seq, Time: r.posting.Time, Kind: yields(r.account, LineDividend), Amount: dividend, Balance: older.balance + dividend})
	}
	return nil
}

// movement lists a stored movement.
func (r *statement) movement(ctx context.Context, m row) error {
	if err := r.open(ctx, m.seq); err != nil {
		return err
	}
	l := StatementLine{Posting: m.seq, Time: r.posting.Time, Amount: m.amount, Balance: m.balance}
	if m.line >= len(r.posting.Entries) {
		return fmt.Errorf("posting %d has %d lines, the statement of %s names line %d", m.seq, len(r.posting.Entries), r.account, m.line)
	}
	l.Other = counterpart(r.posting.Entries, m.line)
	into, _, _ := strings.Cut(r.account, ":")
	l.Kind = kindOf(r.posting.Kind, m.amount, l.Other, into)
	if r.order != nil {
		l.Order, l.Memo = hex.EncodeToString(r.order.ID[:]), memoOf(r.order, r.posting.Entries, m.line)
	}
	r.add(l)
	return nil
}

// open reads a posting, unless it is the one that was read last.
func (r *statement) open(ctx context.Context, seq uint64) error {
	if r.posting.Seq == seq {
		return nil
	}
	var body []byte
	if err := r.tx.QueryRowContext(ctx, "SELECT body FROM vault_posting WHERE seq = ?", int64(seq)).Scan(&body); err != nil {
		return err
	}
	p, err := ledger.DecodePosting(body)
	if err != nil {
		return err
	}
	r.posting, r.order = p, nil
	if p.Kind != ledger.KindOrder {
		return nil
	}
	c, err := ledger.DecodeCommand(p.Command)
	if err != nil {
		return err
	}
	submit, ok := c.(*ledger.Submit)
	if !ok {
		return fmt.Errorf("posting %d is an order without one", seq)
	}
	order, err := ledger.OrderFrom(submit.Envelope)
	r.order = &order
	return err
}

// counterpart is where a line's money went, or came from: the books write what is
// taken before what it becomes.
func counterpart(entries []ledger.Entry, line int) string {
	if entries[line].Amount < 0 {
		for _, e := range entries[line+1:] {
			if e.Amount > 0 {
				return e.Account
			}
		}
		return ""
	}
	for i := line - 1; i >= 0; i-- {
		if entries[i].Amount < 0 {
			return entries[i].Account
		}
	}
	return ""
}

// kindOf names a movement by its posting, its direction, the other account and the class
// of its own.
func kindOf(posting ledger.Kind, amount torq.JT, other, into string) LineKind {
	class, _, _ := strings.Cut(other, ":")
	switch {
	case class == "bonds":
		return LineBond
	case amount > 0 && posting == ledger.KindOrder && into == "savings":
		return LineSaved
	case amount < 0 && class == "leaving":
		return LineWithdrawn
	case amount < 0 && class == "savings":
		return LineSaved
	case amount < 0 && class == "stake.invested":
		return LineInvested
	case amount < 0:
		return LineSent
	case class == "leaving", class == "savings":
		return LineWithdrawn
	case posting == ledger.KindMint:
		return LineReceived
	case class == "stake.invested", class == "stake.returns", class == "deposit":
		return LineReturned
	}
	return LineReceived
}

// memoOf is the memo of the operation that made a line of an order's posting: each
// operation that takes from the wallet begins with that line, in their order.
func memoOf(order *ledger.Order, entries []ledger.Entry, line int) string {
	if entries[line].Amount > 0 {
		line-- // a send puts right after it takes
	}
	taken := 0
	for _, e := range entries[:max(line, 0)] {
		if e.Account == order.From && e.Amount < 0 {
			taken++
		}
	}
	for i := range order.Operations {
		switch order.Operations[i].Kind {
		case ledger.OpLeave, ledger.OpObject:
			continue
		}
		if taken == 0 {
			return order.Operations[i].Memo
		}
		taken--
	}
	return ""
}
