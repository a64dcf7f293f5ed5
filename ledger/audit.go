package ledger

import (
	"slices"

	"robotorq.org/reserve/torq"
)

// Auditor runs postings again and compares: it trusts nothing but the commands in
// them, and an order's signatures as far as the caller checks them ([CheckOrder]).
type Auditor struct {
	book *Book
}

// NewAuditor begins an audit of postings from number 1 on. keys finds the keys of
// postings that were fed before, as for a Book; nil keeps them in memory.
func NewAuditor(profile torq.Profile, origin string, keys Keys) *Auditor {
	return &Auditor{book: New(profile, origin, keys)}
}

// Book is the books that follow from the postings so far.
func (a *Auditor) Book() *Book { return a.book }

// Feed runs the next posting's command and compares everything that follows with
// the posting. The error has code [CodeMismatch] and names the posting and what is
// wrong with it; after it the audit is over.
func (a *Auditor) Feed(p Posting) error {
	c, err := DecodeCommand(p.Command)
	if err != nil {
		return wrapf(CodeMismatch, err, "posting %d", p.Seq)
	}
	out, err := a.book.Apply(c, p.Time)
	if err != nil {
		return wrapf(CodeMismatch, err, "posting %d: its command is refused", p.Seq)
	}
	if out.Repeated {
		return failf(CodeMismatch, "posting %d: %s was posted before, as number %d", p.Seq, p.Key, out.Seq)
	}
	a.book.forget()
	return comparePostings(p, *out.Posting)
}

func comparePostings(told, made Posting) error {
	switch {
	case told.Seq != made.Seq:
		return failf(CodeMismatch, "posting %d: its number should be %d", told.Seq, made.Seq)
	case told.Prev != made.Prev:
		return failf(CodeMismatch, "posting %d: names %s as the posting before, that is %s", told.Seq, told.Prev, made.Prev)
	case told.Kind != made.Kind || told.Key != made.Key:
		return failf(CodeMismatch, "posting %d: says %s %s, its command is %s %s", told.Seq, told.Kind, told.Key, made.Kind, made.Key)
	case told.Time != made.Time:
		return failf(CodeMismatch, "posting %d: was made at %d, should be at %d", told.Seq, told.Time, made.Time)
	}
	for i := range max(len(told.Entries), len(made.Entries)) {
		if i >= len(told.Entries) || i >= len(made.Entries) || told.Entries[i] != made.Entries[i] {
			return failf(CodeMismatch, "posting %d: entry %d is %v, should be %v",
				told.Seq, i, entryAt(told.Entries, i), entryAt(made.Entries, i))
		}
	}
	if (told.Indices == nil) != (made.Indices == nil) || told.Indices != nil && *told.Indices != *made.Indices {
		return failf(CodeMismatch, "posting %d: indices are %v, should be %v", told.Seq, told.Indices, made.Indices)
	}
	if told.Hash != made.Hash {
		return failf(CodeMismatch, "posting %d: its hash is %s, should be %s", told.Seq, told.Hash, made.Hash)
	}
	return nil
}

func entryAt(entries []Entry, i int) []Entry {
	if i >= len(entries) {
		return nil
	}
	return slices.Clone(entries[i : i+1])
}

// forget drops what a drain would return.
func (b *Book) forget() {
	for _, n := range b.pending.rows {
		b.wallets.row(n).set(dirty, false)
	}
	b.pending.rows, b.pending.postings = b.pending.rows[:0], nil
	clear(b.policies.dirty)
	clear(b.contracts.dirty)
	clear(b.schedules.dirty)
	clear(b.notices.dirty)
	clear(b.bonds.dirty)
	if b.keys != nil {
		b.pending.drained, b.pending.keys = b.pending.keys, make(map[string]Known)
	}
}
