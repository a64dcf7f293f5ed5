package ledger

import (
	"iter"
	"strconv"

	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/torq"
)

// Table names what a row is about.
type Table string

// Tables.
const (
	TableState    Table = "state"    // key "": the State
	TableWallet   Table = "wallet"   // key: the account
	TablePolicy   Table = "policy"   // key: the version
	TableContract Table = "contract" // key: the number
	TableSchedule Table = "schedule" // key: the number
	TableNotice   Table = "notice"   // key: the number
	TableBond     Table = "bond"     // key: the serial
)

// Row is one value to be kept: the store needs to know no more of it than its name.
type Row struct {
	Table Table
	Key   string
	Value []byte // nil: the row is to be deleted
}

// Changes are what happened since the last drain: every posting, and the rows as
// they are now. Store all of it in one transaction, postings with a unique index on
// Key, before anything of it is acknowledged.
type Changes struct {
	Postings []Posting
	Known    map[string]Known // of those postings that [Keys] is asked for later; to be read only
	Rows     []Row
}

// Drain returns what changed since it was last called. After it the caller commits,
// or throws the Book away: the keys of a drain are kept until the next but one, so
// that one commit may be under way while the next batch is applied.
func (b *Book) Drain() Changes {
	ch := Changes{Postings: b.pending.postings, Known: b.pending.keys}
	if len(ch.Postings) > 0 {
		ch.Rows = append(ch.Rows, Row{TableState, "", mustEncode(&b.state)})
	}
	for _, n := range b.pending.rows {
		w := b.wallets.row(n)
		w.set(dirty, false)
		ch.Rows = append(ch.Rows, b.walletRow(n))
	}
	drainShelf(&ch.Rows, TablePolicy, b.policies, encodePolicy)
	drainShelf(&ch.Rows, TableContract, b.contracts, encodeValue)
	drainShelf(&ch.Rows, TableSchedule, b.schedules, encodeValue)
	drainShelf(&ch.Rows, TableNotice, b.notices, encodeValue)
	drainShelf(&ch.Rows, TableBond, b.bonds, encodeValue)
	b.pending.postings, b.pending.rows = nil, b.pending.rows[:0]
	if b.keys != nil {
		b.pending.drained, b.pending.keys = b.pending.keys, make(map[string]Known)
	}
	return ch
}

func drainShelf[V any](rows *[]Row, table Table, s *shelf[V], encode func(V) []byte) {
	s.drain(func(key uint64, v V, exists bool) {
		row := Row{Table: table, Key: decimal(key)}
		if exists {
			row.Value = encode(v)
		}
		*rows = append(*rows, row)
	})
}

func encodeValue[V any](v V) []byte { return mustEncode(&v) }

func encodePolicy(d *policy.Document) []byte {
	data, err := d.Encode()
	if err != nil {
		panic("ledger: an adopted policy does not encode: " + err.Error())
	}
	return data
}

func mustEncode(v any) []byte {
	data, err := encoding.Marshal(v)
	if err != nil {
		panic("ledger: a row does not encode: " + err.Error())
	}
	return data
}

const walletRowSize = 1 + 3*16

func (b *Book) walletRow(n uint32) Row {
	w := b.wallets.row(n)
	value := make([]byte, 0, walletRowSize)
	value = append(value, byte(w.flags()&persistent))
	value = append128(append128(append128(value, w.shares), w.mark), w.units)
	return Row{TableWallet, b.wallets.account(n), value}
}

// Rows yields every row of the books as it is now, which an audit compares with
// what a store holds: the state first, wallets in the order in which they were
// enrolled or restored.
func (b *Book) Rows() iter.Seq[Row] {
	return func(yield func(Row) bool) {
		if !yield(Row{TableState, "", mustEncode(&b.state)}) {
			return
		}
		for n := range b.wallets.all() {
			if !yield(b.walletRow(n)) {
				return
			}
		}
		_ = yieldShelf(yield, TablePolicy, b.policies, encodePolicy) &&
			yieldShelf(yield, TableContract, b.contracts, encodeValue) &&
			yieldShelf(yield, TableSchedule, b.schedules, encodeValue) &&
			yieldShelf(yield, TableNotice, b.notices, encodeValue) &&
			yieldShelf(yield, TableBond, b.bonds, encodeValue)
	}
}

func yieldShelf[V any](yield func(Row) bool, table Table, s *shelf[V], encode func(V) []byte) bool {
	for _, key := range s.keys() {
		if !yield(Row{table, decimal(key), encode(s.items[key])}) {
			return false
		}
	}
	return true
}

// Restore fills empty books ([New]) with rows, in any order, and checks that they fit
// together: the sums of shares, units and contracts' money are what the state says.
// Rows that do not are refused with [CodeInvariant] or [CodeMalformed]. After an
// error the Book must not be used.
func (b *Book) Restore(rows iter.Seq2[Row, error]) error {
	for row, err := range rows {
		if err != nil {
			return err
		}
		if err := b.load(row); err != nil {
			return err
		}
	}
	b.derive()
	return b.checkSums()
}

func (b *Book) load(row Row) error {
	if row.Table == TableWallet {
		return b.loadWallet(row)
	}
	if row.Table == TableState {
		return loadValue(row, &b.state)
	}
	key, err := strconv.ParseUint(row.Key, 10, 64)
	if err != nil {
		return failf(CodeMalformed, "row %s %q", row.Table, clip(row.Key))
	}
	switch row.Table {
	case TablePolicy:
		d, err := policy.Decode(row.Value)
		b.policies.items[key] = &d
		return err
	case TableContract:
		return loadShelf(row, key, b.contracts)
	case TableSchedule:
		return loadShelf(row, key, b.schedules)
	case TableNotice:
		return loadShelf(row, key, b.notices)
	case TableBond:
		return loadShelf(row, key, b.bonds)
	}
	return failf(CodeMalformed, "no table %q", clip(string(row.Table)))
}

func loadValue(row Row, into any) error {
	if err := decoding.Unmarshal(row.Value, into); err != nil {
		return wrapf(CodeMalformed, err, "row %s %q", row.Table, clip(row.Key))
	}
	return nil
}

func loadShelf[V any](row Row, key uint64, s *shelf[V]) error {
	var v V
	if err := loadValue(row, &v); err != nil {
		return err
	}
	s.items[key] = v
	return nil
}

func (b *Book) loadWallet(row Row) error {
	_, _, ok := splitAccount(row.Key)
	if !ok || len(row.Value) != walletRowSize {
		return failf(CodeMalformed, "row wallet %q", clip(row.Key))
	}
	if _, found := b.wallets.find(row.Key); found {
		return failf(CodeDuplicate, "row wallet %q occurs twice", row.Key)
	}
	w := b.wallets.row(b.wallets.add(row.Key, flags(row.Value[0])&persistent&^isOrg))
	w.shares, w.mark, w.units = read128(row.Value[1:]), read128(row.Value[17:]), read128(row.Value[33:])
	return nil
}

// derive rebuilds what follows from the rows.
func (b *Book) derive() {
	for number, s := range b.schedules.items {
		b.derived.shapes[s.shape()] = number
	}
	for _, number := range b.notices.keys() {
		notice, _ := b.notices.get(number)
		b.derived.matures[notice.Hour] = append(b.derived.matures[notice.Hour], number)
	}
	for number, c := range b.contracts.items {
		if c.open() {
			for _, robot := range c.Terms.Robots {
				b.derived.booked[robot] = number
			}
		}
	}
}

// checkSums tests every sum that the state holds against what it is the sum of.
func (b *Book) checkSums() error {
	var sums State
	for _, w := range b.wallets.all() {
		sums.Accounts++
		if w.flags()&eligible != 0 {
			sums.Eligible++
		}
		if w.flags()&saver != 0 {
			sums.Savers++
		}
		sums.S, _ = sums.S.Add(b.settled(w))
		sums.Units, _ = sums.Units.Add(w.units)
	}
	for _, n := range b.notices.items {
		sums.S, _ = sums.S.Add(n.Shares)
	}
	for _, c := range b.contracts.items {
		sums.Deposits += c.Deposit
		sums.Deployed += c.Deployed
		sums.Invested += c.Invested
		sums.Returns += c.Returns
	}
	var unreleased torq.JT
	for _, s := range b.schedules.items {
		unreleased += s.Amount - s.Released
	}
	for _, bond := range b.bonds.items {
		if bond.Payee == "" {
			sums.Bound += bond.Face
		}
	}
	return b.compareSums(&sums, unreleased)
}

func (b *Book) compareSums(sums *State, unreleased torq.JT) error {
	s := &b.state
	type pair struct {
		name       string
		kept, made any
	}
	for _, p := range []pair{
		{"accounts", s.Accounts, sums.Accounts},
		{"eligible members", s.Eligible, sums.Eligible},
		{"savers", s.Savers, sums.Savers},
		{"S", s.S, sums.S},
		{"units", s.Units, sums.Units},
		{"deposits", s.Deposits, sums.Deposits},
		{"stake.deployed", s.Deployed, sums.Deployed},
		{"stake.invested", s.Invested, sums.Invested},
		{"stake.returns", s.Returns, sums.Returns},
		{"certificates bound", s.Bound, sums.Bound},
		{"policies", s.Policies, uint64(len(b.policies.items))},
	} {
		if p.kept != p.made {
			return broken(InvariantControl, "%s: the state says %v, the rows make it %v", p.name, p.kept, p.made)
		}
	}
	if s.Seq > 0 && s.Policies > 0 && s.Due+unreleased != s.Disto {
		return broken(InvariantControl, "disto holds %d JT, %d are due and %d to be released", s.Disto, s.Due, unreleased)
	}
	return b.checkInvariants(s, nil, false)
}
