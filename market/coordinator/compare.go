package coordinator

import (
	"context"
	"fmt"
	"strings"

	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/books"
	"robotorq.org/reserve/market/rails"
)

// Books that were restored from a backup do not know what was paid after it, and would pay it
// again. So a process that begins compares: whatever the wallet has sent since the last block
// that the books remember has to be in them. While something is not, nothing new is paid; what
// is under way goes on, since its bytes are the same. An operator who knows what it was says so
// ([Desk.Know]).

const (
	noteUnknown = "unknown transactions"
	noteKnown   = "known " // and the transaction
)

// compare finds what the wallet sent and the books do not know, once for each process.
func (d *Desk) compare(ctx context.Context) error {
	if d.compared {
		return nil
	}
	var last string
	if err := d.read(ctx, func(b *books.Tx) (err error) { last, err = b.Note(noteBlock); return err }); err != nil {
		return err
	}
	var unknown []string
	if last != "" { // new books have nothing to forget
		changes, err := d.o.Chain.Since(ctx, last)
		if err != nil {
			return err
		}
		if unknown, err = d.unknown(ctx, changes); err != nil {
			return err
		}
	}
	if len(unknown) > 0 {
		d.log.Error("the wallet has sent what these books do not know; nothing new is paid until an operator has looked", "transactions", unknown)
		err := d.write(ctx, func(b *books.Tx) error {
			kept, err := b.Note(noteUnknown)
			if err != nil {
				return err
			}
			return b.PutNote(noteUnknown, strings.Join(union(strings.Fields(kept), unknown), " "))
		})
		if err != nil {
			return err
		}
	}
	d.compared = true
	return nil
}

func union(a, b []string) []string {
	seen := make(map[string]bool)
	var out []string
	for _, s := range append(a, b...) {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

// unknown are the transactions that the wallet made, that are no candidate of a sweep, and that
// took no candidate's input: those are dealt with elsewhere.
func (d *Desk) unknown(ctx context.Context, changes rails.Changes) (out []string, err error) {
	for _, c := range changes.Transactions {
		if c.Removed {
			continue
		}
		ours := false
		err := d.read(ctx, func(b *books.Tx) error {
			raw, err := b.Raw(c.Txid)
			if err != nil || raw != nil {
				ours = raw != nil
				return err
			}
			note, err := b.Note(noteKnown + c.Txid)
			ours = note != ""
			return err
		})
		if err != nil || ours {
			if err != nil {
				return nil, err
			}
			continue
		}
		t, err := d.o.Chain.Transaction(ctx, c.Txid)
		if err != nil && rails.ClassOf(err) != rails.NotFound {
			return nil, err
		}
		if err != nil || t.FeeSats <= 0 { // it came in: somebody else paid its fee
			continue
		}
		took, err := d.tookInput(ctx, c.Txid)
		if err != nil {
			return nil, err
		}
		if !took {
			out = append(out, c.Txid)
		}
	}
	return out, nil
}

// tookInput tells whether a transaction spends an input of one of the newest sweeps.
func (d *Desk) tookInput(ctx context.Context, txid string) (bool, error) {
	var sweeps []market.Sweep
	if err := d.read(ctx, func(b *books.Tx) (err error) { sweeps, err = b.Sweeps(0, "", 100); return err }); err != nil {
		return false, err
	}
	for _, s := range sweeps {
		if s.State == market.SweepFinal {
			continue
		}
		for _, c := range s.Candidates {
			for _, in := range c.Inputs {
				by, ok, err := d.o.Chain.SpentBy(ctx, in)
				if err != nil {
					return false, err
				}
				if ok && by.Txid == txid {
					return true, nil
				}
			}
		}
	}
	return false, nil
}

// older says why nothing new is paid, when the books seem to be older than the wallet.
func (d *Desk) older(ctx context.Context) (why string, err error) {
	var unknown string
	if err := d.read(ctx, func(b *books.Tx) (err error) { unknown, err = b.Note(noteUnknown); return err }); err != nil || unknown == "" {
		return "", err
	}
	return fmt.Sprintf("the wallet sent %s, which these books do not know: were they restored from a backup? Then robots may have been paid already. Compare, and when you know what it was: robotorq market sweep --know TXID", unknown), nil
}

// Know tells the books about transactions of the wallet that are none of theirs.
func (d *Desk) Know(ctx context.Context, txids []string) error {
	if len(txids) == 0 {
		return nil
	}
	return d.write(ctx, func(b *books.Tx) error {
		kept, err := b.Note(noteUnknown)
		if err != nil {
			return err
		}
		var left []string
		for _, u := range strings.Fields(kept) {
			known := false
			for _, id := range txids {
				known = known || id == u
			}
			if !known {
				left = append(left, u)
			}
		}
		for _, id := range txids {
			if err := b.PutNote(noteKnown+id, "yes"); err != nil {
				return err
			}
		}
		return b.PutNote(noteUnknown, strings.Join(left, " "))
	})
}
