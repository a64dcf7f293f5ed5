package vault

import (
	"context"
	"database/sql"
	"errors"
	"sync"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
)

// Executed is what became of an order; it is on disk.
type Executed struct {
	Order    ledger.Order
	Posting  ledger.Known
	Repeated bool
}

// Receipt is the vault's signed answer to an order.
type Receipt struct {
	Executed
	Envelope seal.Envelope
}

// receipts are those that are being signed, by the posting's key. Signing takes as long
// as fifty orders take the writer: whoever wants a receipt signs it, on a core of its
// own, and one alone for each order.
type receipts struct {
	mu    sync.Mutex
	open  map[string]*signing
	ready chan struct{} // closed when Run has signed what a crash left unsigned
}

// signing is a receipt under way; closed done, the others may be read.
type signing struct {
	done chan struct{}
	env  seal.Envelope
	err  error
}

// Receipt signs the vault's word for an executed order. It is on disk before it is
// handed out, and the same order always gets the same receipt. ctx ends the waiting,
// not the signing.
func (s *Station) Receipt(ctx context.Context, e Executed) (seal.Envelope, error) {
	key := e.Order.Key()
	s.signings.mu.Lock()
	r, ok := s.signings.open[key]
	if !ok {
		r = &signing{done: make(chan struct{})}
		s.signings.open[key] = r
		go s.sign(context.WithoutCancel(ctx), key, e, r)
	}
	s.signings.mu.Unlock()
	select {
	case <-r.done:
		return r.env, r.err
	case <-ctx.Done():
		return seal.Envelope{}, ctx.Err()
	}
}

func (s *Station) sign(ctx context.Context, key string, e Executed, r *signing) {
	r.env, r.err = s.receipt(ctx, key, e)
	s.signings.mu.Lock()
	delete(s.signings.open, key)
	s.signings.mu.Unlock()
	close(r.done)
}

func (s *Station) receipt(ctx context.Context, key string, e Executed) (seal.Envelope, error) {
	<-s.signings.ready
	env, found, err := s.stored(ctx, key)
	if err != nil || found {
		return env, unavailable(err)
	}
	issued := max(uint64(s.Clock.Now().UnixMilli()), e.Posting.Time)
	word := proof.Receipt{Origin: s.Origin, Order: e.Order.ID, Seq: e.Posting.Seq, Posting: e.Posting.Hash, Issued: issued}
	if env, err = s.Signer.Sign(proof.TypeReceipt, word.Encode()); err != nil {
		return seal.Envelope{}, err
	}
	raw, err := env.EncodeCBOR()
	if err != nil {
		return seal.Envelope{}, err
	}
	return env, s.do(ctx, &job{receipt: &keyed{key, raw}})
}

// stored reads the receipt of a posting.
func (s *Station) stored(ctx context.Context, key string) (env seal.Envelope, found bool, err error) {
	err = s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var raw []byte
		err := tx.QueryRowContext(ctx, "SELECT envelope FROM vault_receipt WHERE key = ?", key).Scan(&raw)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err == nil {
			found = true
			env, err = seal.DecodeEnvelope(raw)
		}
		return err
	})
	return env, found, err
}

// keyed is a signed receipt, by the posting's key.
type keyed struct {
	key      string
	envelope []byte
}

func (s *Station) saveReceipts(ctx context.Context, tx *sql.Tx, batch []*job) error {
	var keys []string
	var envelopes [][]byte
	for _, j := range batch {
		if j.receipt != nil {
			keys, envelopes = append(keys, j.receipt.key), append(envelopes, j.receipt.envelope)
		}
	}
	return s.DB.Insert(ctx, tx, &store.Set{Table: "vault_receipt", Columns: []store.Column{
		{Name: "key", Texts: keys}, {Name: "envelope", Bytes: envelopes},
	}})
}
