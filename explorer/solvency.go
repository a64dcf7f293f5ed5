package explorer

import (
	"context"
	"database/sql"
	"errors"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/vault"
	"robotorq.org/reserve/wallet"
)

// noStatement says that something is not logged yet.
func noStatement(err error) error {
	var v *vault.Error
	if archive.IsCode(err, archive.CodeNotFound) || errors.As(err, &v) && v.Code == vault.CodeNoStatement {
		return &api.Error{Code: api.CodeNoStatement, Detail: "It is not made or not logged yet: the first statement comes with the first dividend, the first head with the first full hour.", Err: err}
	}
	return refused(err)
}

// Solvency implements [api.Solvent].
func (e *Explorer) Solvency(ctx context.Context) (api.Solvency, error) {
	w, err := e.newest(ctx, "solvency")
	if err != nil {
		return api.Solvency{}, err
	}
	s, err := proof.DecodeSolvency(w.envelope.Payload)
	return api.Solvency{
		Posting: s.Seq, Root: s.Root.String(), Sum: torq.JT(s.Sum), Wallets: s.Wallets, Issued: int64(s.Issued),
		Digest: w.digest.String(), Entry: w.index, Envelope: w.text, Log: w.log,
	}, err
}

// SolvencyFile implements [api.Solvent].
func (e *Explorer) SolvencyFile(ctx context.Context, account string) ([]byte, error) {
	s, err := e.attached()
	if err != nil {
		return nil, err
	}
	seq, in, err := s.Vault.Solvency(ctx, account)
	if err != nil {
		return nil, noStatement(err)
	}
	x, err := e.exporter(ctx, s)
	if err != nil {
		return nil, noStatement(err)
	}
	l, err := places{ctx, e, s}.statement(x, seq)
	if err != nil {
		return nil, noStatement(err)
	}
	charters, err := x.Charters()
	if err != nil {
		return nil, err
	}
	return wallet.NewSolvencyFile(l.Envelope, in, charters, l.Log).Encode()
}

// Head implements [api.Solvent].
func (e *Explorer) Head(ctx context.Context) (api.Head, error) {
	w, err := e.newest(ctx, "head")
	if err != nil {
		return api.Head{}, err
	}
	h, err := proof.DecodeHead(w.envelope.Payload)
	return api.Head{
		Posting: h.Seq, Hash: h.Posting.String(), Issued: int64(h.Issued), Entry: w.index, Envelope: w.text, Log: w.log,
	}, err
}

// PostedOrder implements [api.Solvent].
func (e *Explorer) PostedOrder(ctx context.Context, account, order string) (posted api.PostedOrder, err error) {
	s, err := e.attached()
	if err != nil {
		return posted, err
	}
	var body []byte
	err = s.Vault.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, "SELECT body FROM vault_posting WHERE key = ?", "order/"+account+"/"+order).Scan(&body)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return posted, api.Errorf(api.CodeNotFound, "No order %s of %s was posted.", order, account)
	}
	if err != nil {
		return posted, err
	}
	p, err := ledger.DecodePosting(body)
	return api.PostedOrder{Posting: p.Seq, Hash: p.Hash.String(), Body: body}, err
}
