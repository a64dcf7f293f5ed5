package wallet

import (
	"crypto/rand"
	"strings"
	"unicode/utf8"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// ParseAmount reads an amount to pay, "1.25 RT" or "4500000 JT", exactly: nothing is
// rounded. The error has code [CodeAmount] and wraps torq's, which says why.
func ParseAmount(typed string) (torq.JT, error) {
	amount, err := torq.ParseRT(typed)
	if err != nil {
		return 0, wrapf(CodeAmount, err, "%q cannot be paid", clip(typed))
	}
	return amount, checkAmount(amount)
}

// ParseFace reads the face of a bond, which is whole RT: "5 RT". The error has code
// [CodeAmount].
func ParseFace(typed string) (uint64, error) {
	amount, err := ParseAmount(typed)
	if err != nil {
		return 0, err
	}
	if amount%torq.OrePerRT != 0 {
		return 0, failf(CodeAmount, "a bond has a face of whole RT, %s is not", amount.RT())
	}
	return uint64(amount / torq.OrePerRT), nil
}

func checkAmount(amount torq.JT) error {
	if amount <= 0 || amount > torq.MaxInteger {
		return failf(CodeAmount, "%s: an amount is from 1 to 2^53-1 JT", amount)
	}
	return nil
}

// Send pays an account, with a memo of at most 256 bytes that both sides see. The
// error has code [CodeAccount], [CodeAmount] or [CodeOrder].
func Send(to string, amount torq.JT, memo string) (ledger.Operation, error) {
	if _, _, err := SplitAccount(to); err != nil {
		return ledger.Operation{}, err
	}
	if len(memo) > ledger.MaxMemo || !utf8.ValidString(memo) {
		return ledger.Operation{}, failf(CodeOrder, "a memo is text of at most %d bytes, this one has %d", ledger.MaxMemo, len(memo))
	}
	return ledger.Operation{Kind: ledger.OpSend, To: to, Amount: uint64(amount), Memo: memo}, checkAmount(amount)
}

// SaveUp moves money from the wallet into savings.
func SaveUp(amount torq.JT) (ledger.Operation, error) {
	return ledger.Operation{Kind: ledger.OpSave, Amount: uint64(amount)}, checkAmount(amount)
}

// Leave gives notice for savings.
func Leave(amount torq.JT) (ledger.Operation, error) {
	return ledger.Operation{Kind: ledger.OpLeave, Amount: uint64(amount)}, checkAmount(amount)
}

// Invest puts money into a contract, by its id <origin>#<number>.
func Invest(contract string, amount torq.JT) (ledger.Operation, error) {
	if _, _, err := proof.ParseContractID(contract); err != nil {
		return ledger.Operation{}, wrapf(CodeOrder, err, "invest")
	}
	return ledger.Operation{Kind: ledger.OpInvest, To: contract, Amount: uint64(amount)}, checkAmount(amount)
}

// Bond locks whole RT behind the bearer's key whose hash is given
// ([Secret.KeyHash]). Keep the secret before ordering the bond: nobody can issue it
// again.
func Bond(face uint64, keyHash merkle.Hash) (ledger.Operation, error) {
	if face == 0 || face > torq.MaxInteger/torq.OrePerRT {
		return ledger.Operation{}, failf(CodeAmount, "a bond over %d RT", face)
	}
	if keyHash.IsZero() {
		return ledger.Operation{}, failf(CodeOrder, "a bond needs the hash of its bearer's key")
	}
	return ledger.Operation{Kind: ledger.OpBond, Amount: face, Hash: keyHash}, nil
}

// Object vetoes the rebinding of one's account to another key: digest is that of the
// enrolment which would do it.
func Object(enrolment merkle.Hash) ledger.Operation {
	return ledger.Operation{Kind: ledger.OpObject, Hash: enrolment}
}

// NewOrder is an order with a fresh random id, made at nowMS and void from expiresMS
// on (Unix ms). It is checked as the ledger reads it; the error has code [CodeOrder].
func NewOrder(origin, from string, nowMS, expiresMS uint64, operations ...ledger.Operation) (ledger.Order, error) {
	if _, _, err := SplitAccount(from); err != nil {
		return ledger.Order{}, err
	}
	if expiresMS <= nowMS {
		return ledger.Order{}, failf(CodeOrder, "the order would expire before it is made")
	}
	o := ledger.Order{Origin: origin, From: from, Created: nowMS, Expires: expiresMS, Operations: operations}
	if _, err := rand.Read(o.ID[:]); err != nil {
		return ledger.Order{}, wrapf(CodeOrder, err, "order id")
	}
	if _, err := ledger.DecodeOrder(o.Encode()); err != nil {
		return ledger.Order{}, wrapf(CodeOrder, err, "the ledger would not read the order")
	}
	return o, nil
}

// SignOrder signs an order with every key of its account. The error has code
// [CodeKey] when the signer is another's.
func SignOrder(o ledger.Order, signer *seal.Signer) (seal.Envelope, error) {
	if want, _, _ := strings.Cut(o.From, ":"); signer.Role != want || o.From != signer.Role+":"+signer.Name {
		return seal.Envelope{}, failf(CodeKey, "an order of %s cannot be signed by %s:%s", o.From, signer.Role, signer.Name)
	}
	return signer.Sign(ledger.TypeOrder, o.Encode())
}

// Order builds an order of one of the wallet's accounts for its reserve and signs it.
func (w *Wallet) Order(account string, nowMS, expiresMS uint64, operations ...ledger.Operation) (ledger.Order, seal.Envelope, error) {
	a, err := w.Account(account)
	if err != nil {
		return ledger.Order{}, seal.Envelope{}, err
	}
	if w.origin == "" {
		return ledger.Order{}, seal.Envelope{}, failf(CodeOrder, "the wallet has not met its reserve yet")
	}
	o, err := NewOrder(w.origin, a.Name, nowMS, expiresMS, operations...)
	if err != nil {
		return ledger.Order{}, seal.Envelope{}, err
	}
	signer, err := w.Signer(a.Name)
	if err != nil {
		return ledger.Order{}, seal.Envelope{}, err
	}
	env, err := SignOrder(o, signer)
	return o, env, err
}
