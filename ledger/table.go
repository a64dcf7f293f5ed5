package ledger

import (
	"hash/maphash"
	"iter"
	"strings"

	"robotorq.org/reserve/torq"
)

// Classes of wallets, the prefixes of their accounts.
const (
	memberPrefix  = "member:"
	orgPrefix     = "org:"
	savingsPrefix = "savings:"
	leavingPrefix = "leaving:"
)

// flags of a wallet.
type flags uint8

const (
	isOrg    flags = 1 << iota // `org:`, else `member:`
	eligible                   // receives the dividend
	frozen                     // receives and decays but pays nothing
	saver                      // has ever saved
	dirty                      // changed since the last drain
	touched                    // changed by the command at hand
)

const persistent = isOrg | eligible | frozen | saver

// wallet is one row of the table: 56 bytes, no pointers.
type wallet struct {
	shares torq.Uint128 // times D / 2⁹⁵: JT
	mark   torq.Uint128 // U when the dividend was last settled
	units  torq.Uint128 // vaulted savings, times Y / 2⁹⁵: JT
	name   uint64       // place of the id in the arena <<16 | length <<8 | flags
}

func (w *wallet) flags() flags { return flags(w.name) }

func (w *wallet) set(f flags, on bool) {
	if on {
		w.name |= uint64(f)
	} else {
		w.name &^= uint64(f)
	}
}

const (
	rowsPerChunk = 1 << 14
	arenaChunk   = 1 << 20
	shards       = 256
	noRow        = ^uint32(0)
)

// table is the pointer-free table of wallets: rows in chunks, ids in one arena of
// bytes, and an open-addressing index in shards that grow one at a time, so that no
// growth stops the writer for long. Rows keep their number for ever. With ten
// million wallets a row, its id and its place in the index take about 85 bytes.
type table struct {
	rows  [][]wallet
	count uint32
	arena [][]byte
	seed  maphash.Seed
	index [shards]shard
}

type shard struct {
	slots []uint32 // row + 1, 0 is empty; the length is a power of two
	used  int
}

func newTable() *table { return &table{seed: maphash.MakeSeed()} }

func (t *table) row(n uint32) *wallet { return &t.rows[n/rowsPerChunk][n%rowsPerChunk] }

// splitAccount divides a wallet's account into its class and id.
func splitAccount(account string) (class flags, id string, ok bool) {
	if id, ok = strings.CutPrefix(account, memberPrefix); ok {
		return 0, id, id != "" && len(id) <= 255
	}
	id, ok = strings.CutPrefix(account, orgPrefix)
	return isOrg, id, ok && id != "" && len(id) <= 255
}

func (t *table) id(w *wallet) []byte {
	place, length := w.name>>16, w.name>>8&255
	chunk := t.arena[place/arenaChunk]
	return chunk[place%arenaChunk:][:length]
}

// account is the name of a row's wallet.
func (t *table) account(n uint32) string {
	w := t.row(n)
	if w.flags()&isOrg != 0 {
		return orgPrefix + string(t.id(w))
	}
	return memberPrefix + string(t.id(w))
}

func (t *table) hash(class flags, id string) uint64 {
	return maphash.String(t.seed, id) ^ uint64(class)*0x9e3779b97f4a7c15
}

// find is the row of an account; ok is false when there is none.
func (t *table) find(account string) (uint32, bool) {
	class, id, ok := splitAccount(account)
	if !ok {
		return noRow, false
	}
	hash := t.hash(class, id)
	s := &t.index[hash%shards]
	if len(s.slots) == 0 {
		return noRow, false
	}
	mask := uint64(len(s.slots) - 1)
	for at := hash >> 8 & mask; s.slots[at] != 0; at = (at + 1) & mask {
		n := s.slots[at] - 1
		if w := t.row(n); w.flags()&isOrg == class && string(t.id(w)) == id {
			return n, true
		}
	}
	return noRow, false
}

// add appends a wallet; the account must be well formed and not there yet.
func (t *table) add(account string, f flags) uint32 {
	class, id, _ := splitAccount(account)
	n := t.count
	if n%rowsPerChunk == 0 {
		t.rows = append(t.rows, make([]wallet, rowsPerChunk))
	}
	t.count++
	*t.row(n) = wallet{name: t.intern(id)<<16 | uint64(len(id))<<8 | uint64(f|class)}
	s := &t.index[t.hash(class, id)%shards]
	if 4*(s.used+1) > 3*len(s.slots) {
		t.grow(s)
	}
	t.place(s, t.hash(class, id), n)
	return n
}

func (t *table) place(s *shard, hash uint64, n uint32) {
	mask := uint64(len(s.slots) - 1)
	at := hash >> 8 & mask
	for s.slots[at] != 0 {
		at = (at + 1) & mask
	}
	s.slots[at] = n + 1
	s.used++
}

func (t *table) grow(s *shard) {
	old := s.slots
	s.slots, s.used = make([]uint32, max(16, 2*len(old))), 0
	for _, slot := range old {
		if slot != 0 {
			w := t.row(slot - 1)
			t.place(s, t.hash(w.flags()&isOrg, string(t.id(w))), slot-1)
		}
	}
}

// intern copies an id into the arena and returns its place; an id does not cross
// chunks.
func (t *table) intern(id string) uint64 {
	last := len(t.arena) - 1
	if last < 0 || len(t.arena[last])+len(id) > arenaChunk {
		t.arena = append(t.arena, make([]byte, 0, arenaChunk))
		last++
	}
	place := uint64(last)*arenaChunk + uint64(len(t.arena[last]))
	t.arena[last] = append(t.arena[last], id...)
	return place
}

// all yields every row in the order of enrolment.
func (t *table) all() iter.Seq2[uint32, *wallet] {
	return func(yield func(uint32, *wallet) bool) {
		for n := range t.count {
			if !yield(n, t.row(n)) {
				return
			}
		}
	}
}
