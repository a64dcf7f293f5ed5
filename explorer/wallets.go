package explorer

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/vault"
)

// decodeEnvelope reads an envelope in DSSE JSON.
func decodeEnvelope(document []byte) (env seal.Envelope, err error) {
	if len(document) > seal.MaxEnvelopeJSON {
		return env, api.Errorf(api.CodeTooLarge, "An envelope has at most %d bytes.", seal.MaxEnvelopeJSON)
	}
	if err := json.Unmarshal(document, &env); err != nil {
		return env, &api.Error{Code: api.CodeMalformed, Detail: "This is no DSSE envelope: " + err.Error(), Err: err}
	}
	return env, nil
}

// refused turns an error of the ledger into one for the caller. What is not the
// caller's fault stays as it is and is shown as internal.
func refused(err error) error {
	var l *ledger.Error
	if !errors.As(err, &l) {
		return err
	}
	switch l.Code {
	case ledger.CodeInvariant, ledger.CodeMismatch, ledger.CodeKeyLookup, ledger.CodeBehind, ledger.CodeOutOfOrder:
		return err
	}
	detail := l.Detail
	if l.Operation >= 0 {
		detail = fmt.Sprintf("Operation %d: %s", l.Operation+1, detail)
	}
	if l.Err != nil {
		detail += ": " + l.Err.Error()
	}
	return &api.Error{Code: api.Code(l.Code), Detail: sentence(detail), Err: err}
}

// sentence makes a detail one.
func sentence(detail string) string {
	detail = strings.TrimSpace(detail)
	if detail == "" {
		return detail
	}
	word, _, _ := strings.Cut(detail, " ")
	if c := detail[0]; c >= 'a' && c <= 'z' && !strings.ContainsAny(word, ":/._") {
		detail = string(c-'a'+'A') + detail[1:]
	}
	if !strings.HasSuffix(detail, ".") {
		detail += "."
	}
	return detail
}

// Order implements [api.Wallets].
func (e *Explorer) Order(ctx context.Context, envelope []byte) (api.Receipt, error) {
	s, err := e.attached()
	if err != nil {
		return api.Receipt{}, err
	}
	env, err := decodeEnvelope(envelope)
	if err != nil {
		return api.Receipt{}, err
	}
	receipt, err := s.Vault.Order(ctx, env)
	if err != nil {
		return api.Receipt{}, refused(err)
	}
	text, err := json.Marshal(receipt.Envelope)
	return api.Receipt{
		Envelope: text, OrderID: hex.EncodeToString(receipt.Order.ID[:]),
		Posting: receipt.Posting.Seq, Hash: receipt.Posting.Hash.String(), Repeated: receipt.Repeated,
	}, err
}

// Balance implements [api.Wallets].
func (e *Explorer) Balance(ctx context.Context, account string) (api.Balance, error) {
	s, err := e.attached()
	if err != nil {
		return api.Balance{}, err
	}
	known, _ := e.totals.get(account)
	t, err := s.Vault.Totals(ctx, account, known)
	if err != nil {
		return api.Balance{}, refused(err)
	}
	e.totals.put(account, t)
	balance := api.Balance{
		Account: account, JT: t.Balance, Leaving: []api.Leaving{}, Posting: t.Seq, Time: int64(t.Time),
		Received: t.Received, Sent: t.Sent, Dividend: t.Dividend, Decayed: t.Demurrage,
	}
	saved, err := s.Vault.Savings(ctx, account)
	if err != nil {
		return api.Balance{}, refused(err)
	}
	balance.Saved, balance.Left, balance.Yield = saved.Saved, saved.Left, saved.Yield
	s.Vault.With(func(b *ledger.Book, r *proof.Registry) {
		a, _ := b.Account(account)
		balance.Savings, balance.Eligible = a.Savings, a.Eligible
		balance.Status, err = statusOf(a, r)
		if !a.Saver {
			return
		}
		d := torq.Uint128{Lo: b.State().D}
		for _, n := range b.NoticesOf(account) {
			balance.Leaving = append(balance.Leaving, api.Leaving{JT: valueOf(n.Shares, d), Due: int64(n.Hour * policy.Hour)})
		}
	})
	return balance, err
}

// statusOf is the status of a wallet's owner by the newest enrolment.
func statusOf(a ledger.Account, r *proof.Registry) (string, error) {
	role, id, _ := strings.Cut(a.Account, ":")
	history, err := r.PersonHistory(role, id)
	if err != nil || len(history) == 0 {
		return seal.StatusActive, err
	}
	return statusIn(history[len(history)-1].Enrolment), nil
}

// valueOf is what shares are worth, floor(shares · D / 2⁹⁵).
func valueOf(shares, d torq.Uint128) torq.JT {
	n := wide(shares)
	n.Rsh(n.Mul(n, wide(d)), 95)
	return torq.JT(n.Int64())
}

// Statement implements [api.Wallets].
func (e *Explorer) Statement(ctx context.Context, account string, page api.Page) (list api.List[api.StatementLine], err error) {
	s, err := e.attached()
	if err != nil {
		return list, err
	}
	from, err := place(page.Cursor)
	if err != nil {
		return list, err
	}
	part, err := s.Vault.Statement(ctx, account, from, limit(page))
	if ledger.CodeOf(err) == ledger.CodeMalformed {
		return list, badCursor()
	}
	if err != nil {
		return list, refused(err)
	}
	list = api.List[api.StatementLine]{Items: make([]api.StatementLine, len(part.Lines)), Next: placeCursor(part.Next)}
	for i, l := range part.Lines {
		list.Items[i] = statementLine(l)
	}
	return list, nil
}

func statementLine(l vault.StatementLine) api.StatementLine {
	return api.StatementLine{
		Posting: l.Posting, Time: int64(l.Time), Kind: string(l.Kind), JT: l.Amount, Balance: l.Balance,
		Other: l.Other, Memo: l.Memo, OrderID: l.Order, Unsettled: l.Unsettled,
	}
}

// Key implements [api.Wallets].
func (e *Explorer) Key(_ context.Context, account, keyID string) ([]byte, error) {
	s, err := e.attached()
	if err != nil {
		return nil, err
	}
	var public []byte
	keys, err := s.Vault.KeysOf(account, e.now())
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if k.KeyID == keyID && k.Alg == seal.Ed25519 {
			public = append([]byte(nil), k.Public...)
		}
	}
	if public == nil {
		return nil, api.Errorf(api.CodeBadSignature, "No valid Ed25519 key %q is enrolled for %s.", keyID, account)
	}
	return public, nil
}
