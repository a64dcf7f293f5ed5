package vault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"strings"

	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// Rows yields the rows of the books as they are stored.
func Rows(ctx context.Context, tx *sql.Tx) iter.Seq2[ledger.Row, error] {
	return func(yield func(ledger.Row, error) bool) {
		rows, err := tx.QueryContext(ctx, "SELECT tbl, key, value FROM vault_row")
		if err != nil {
			yield(ledger.Row{}, err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			var r ledger.Row
			if err := rows.Scan(&r.Table, &r.Key, &r.Value); err != nil {
				yield(ledger.Row{}, err)
				return
			}
			if !yield(r, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(ledger.Row{}, err)
		}
	}
}

// Postings yields the stored postings in order, each checked against its stored
// number and hash. Between two of them the transaction may be asked other things.
func Postings(ctx context.Context, tx *sql.Tx) iter.Seq2[ledger.Posting, error] {
	return func(yield func(ledger.Posting, error) bool) {
		for after := uint64(0); ; {
			page, err := postingsAfter(ctx, tx, after)
			for _, p := range page {
				if !yield(p, nil) {
					return
				}
				after = p.Seq
			}
			if err != nil {
				yield(ledger.Posting{}, err)
			}
			if err != nil || len(page) < pageOf {
				return
			}
		}
	}
}

// pageOf is how many postings are read at once: a server's connection answers nothing
// else while it reads rows.
const pageOf = 256

func postingsAfter(ctx context.Context, tx *sql.Tx, after uint64) (page []ledger.Posting, err error) {
	rows, err := tx.QueryContext(ctx, "SELECT seq, hash, body FROM vault_posting WHERE seq > ? ORDER BY seq LIMIT ?", int64(after), pageOf)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var seq uint64
		var hash, body []byte
		if err := rows.Scan(&seq, &hash, &body); err != nil {
			return page, err
		}
		p, err := ledger.DecodePosting(body)
		if err == nil && (p.Seq != seq || string(p.Hash[:]) != string(hash)) {
			err = fmt.Errorf("posting %d: its body is number %d with hash %s, the store says %x", seq, p.Seq, p.Hash, hash)
		}
		if err != nil {
			return page, err
		}
		page = append(page, p)
	}
	return page, rows.Err()
}

// checkHead tests that the rows and the chain of postings end at the same posting.
func checkHead(ctx context.Context, tx *sql.Tx, state ledger.State) error {
	var seq uint64
	var hash []byte
	err := tx.QueryRowContext(ctx, "SELECT seq, hash FROM vault_posting ORDER BY seq DESC LIMIT 1").Scan(&seq, &hash)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if seq != state.Seq || err == nil && string(hash) != string(state.Head[:]) {
		return fmt.Errorf("the vault's rows are at posting %d, %s, its postings end with %d, %x", state.Seq, state.Head, seq, hash)
	}
	return nil
}

// personal tells whether an account belongs to somebody.
func personal(account string) bool {
	class, _, ok := strings.Cut(account, ":")
	switch class {
	case "member", "org", "savings", "leaving":
		return ok
	}
	return false
}

// publish signs what a posting says to everybody, and keeps its figures. It is issued
// now: a posting that was made up for a time long gone is signed with today's key.
func (s *Station) publish(ctx context.Context, tx *sql.Tx, p *Posted, now uint64) error {
	d := proof.Distribution{Origin: s.Origin, Seq: p.Seq, Posting: p.Hash, Issued: now}
	switch p.Kind {
	case ledger.KindMint:
		c, err := ledger.DecodeCommand(p.Command)
		if err != nil {
			return err
		}
		d.Kind, d.Subject, d.Amount = proof.KindMint, c.(*ledger.Mint).Serial, s.Profile.CertificateOre()
		if err := s.saveMint(ctx, tx, p, d.Subject); err != nil {
			return err
		}
	case ledger.KindRelease:
		if p.Members == 0 {
			return nil
		}
		p.Paid = p.Each * torq.JT(p.Members)
		d.Kind, d.Amount, d.Members = proof.KindDividend, uint64(p.Paid), p.Members
		s.each += p.Each
		_, err := tx.ExecContext(ctx, "INSERT INTO vault_dividend (seq, time, amount, members, each, sum) VALUES (?, ?, ?, ?, ?, ?)",
			int64(p.Seq), int64(p.Time), int64(p.Paid), int64(p.Members), int64(p.Each), int64(s.each))
		if err != nil {
			return err
		}
	case ledger.KindTick:
		for _, e := range p.Entries {
			if e.Account == "wallets" && e.Amount < 0 {
				d.Amount += uint64(-e.Amount)
			}
		}
		d.Kind = proof.KindDemurrage
		if err := s.publishHead(ctx, tx, p.Seq, p.Hash, now); err != nil {
			return err
		}
	case ledger.KindRecall, ledger.KindRepay:
		serial, paid, err := recalledBy(&p.Posting)
		if err != nil || !paid {
			return err
		}
		d.Kind, d.Subject, d.Amount = proof.KindRecall, serial, s.Profile.CertificateOre()
	default:
		return nil
	}
	return s.send(ctx, tx, "distribution", proof.TypeDistribution, d.Encode())
}

// saveMint keeps how a certificate's money was divided. Entries of enterprises are
// pay; what the StakeVault gains beyond what it had deployed is growth, what the
// investors gain beyond what they had at work is their yield: pay is replenished.
func (s *Station) saveMint(ctx context.Context, tx *sql.Tx, p *Posted, serial uint64) error {
	var paid, disto, returns, stake torq.JT
	for _, e := range p.Entries {
		switch class, _, _ := strings.Cut(e.Account, ":"); class {
		case "org", "member":
			paid += e.Amount
		case "disto":
			disto += e.Amount
		case "stake.invested", "stake.returns":
			returns += e.Amount
		case "stake.available", "stake.deployed":
			stake += e.Amount
		}
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO vault_mint (serial, seq, time, supply, paid, growth, returns, disto) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		int64(serial), int64(p.Seq), int64(p.Time), int64(p.Supply), int64(paid), int64(stake), int64(returns), int64(disto))
	return err
}

func (s *Station) publishHead(ctx context.Context, tx *sql.Tx, seq uint64, hash merkle.Hash, at uint64) error {
	h := proof.Head{Origin: s.Origin, Seq: seq, Posting: hash, Issued: at}
	return s.send(ctx, tx, "head", proof.TypeHead, h.Encode())
}

// send signs an artefact and hands it to the mint.
func (s *Station) send(ctx context.Context, tx *sql.Tx, event, payloadType string, payload []byte) error {
	subject, err := bus.SubjectVault(event)
	if err != nil {
		return err
	}
	env, err := s.Signer.Sign(payloadType, payload)
	if err != nil {
		return err
	}
	return s.append(ctx, tx, subject, env)
}

func (s *Station) append(ctx context.Context, tx *sql.Tx, subject string, env seal.Envelope) error {
	raw, err := env.EncodeCBOR()
	if err != nil {
		return err
	}
	_, err = s.Outbox.Append(ctx, tx, subject, bus.Trace{}, raw)
	return err
}
