package ledger

import (
	"bytes"
	"encoding/hex"

	"github.com/fxamacker/cbor/v2"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// TypeOrder is the payload type of a signed order.
const TypeOrder = "application/vnd.robotorq.order.v1+cbor"

// Bounds of orders.
const (
	MaxOperations = 1000
	MaxMemo       = 256 // bytes
)

// OpKind names an operation of an order.
type OpKind string

// Operations.
const (
	OpSend   OpKind = "send"   // To, Amount, Memo
	OpSave   OpKind = "save"   // Amount: from the wallet into savings
	OpLeave  OpKind = "leave"  // Amount: notice, from savings to leaving
	OpBond   OpKind = "bond"   // Amount in whole RT, Hash of the bearer's key
	OpInvest OpKind = "invest" // To is the contract id, Amount
	OpObject OpKind = "object" // Hash of an enrolment: the old key's veto
)

// Operation is one operation of an order. Which fields count depends on Kind; the
// others are zero.
type Operation struct {
	Kind   OpKind
	To     string      // account, or contract id
	Amount uint64      // JT, or whole RT for a bond
	Memo   string      // of a send
	Hash   merkle.Hash // key hash of a bond, digest of an enrolment
}

// Order is what a member or an organisation orders: all of it or nothing.
type Order struct {
	Origin     string   // name of the reserve's log
	From       string   // account, "member:…" or "org:…"
	ID         [16]byte // random
	Created    uint64   // Unix ms
	Expires    uint64   // Unix ms, exclusive
	Operations []Operation
}

// Key is the idempotency key of an order. It contains the account, so that nobody
// can use up another's order ids.
func (o *Order) Key() string { return "order/" + o.From + "/" + hex.EncodeToString(o.ID[:]) }

// Encode is the canonical CBOR payload,
// [origin, from, id, created_ms, expires_ms, operations].
func (o *Order) Encode() []byte {
	b := make([]byte, 0, 96+64*len(o.Operations))
	b = appendHead(b, 4, 6)
	b = appendText(b, o.Origin)
	b = appendText(b, o.From)
	b = appendBytes(b, o.ID[:])
	b = appendHead(b, 0, o.Created)
	b = appendHead(b, 0, o.Expires)
	b = appendHead(b, 4, uint64(len(o.Operations)))
	for i := range o.Operations {
		b = o.Operations[i].append(b)
	}
	return b
}

func (p *Operation) append(b []byte) []byte {
	switch p.Kind {
	case OpSend:
		b = appendText(appendHead(b, 4, 4), string(p.Kind))
		b = appendHead(appendText(b, p.To), 0, p.Amount)
		return appendText(b, p.Memo)
	case OpBond:
		b = appendText(appendHead(b, 4, 3), string(p.Kind))
		return appendBytes(appendHead(b, 0, p.Amount), p.Hash[:])
	case OpInvest:
		b = appendText(appendHead(b, 4, 3), string(p.Kind))
		return appendHead(appendText(b, p.To), 0, p.Amount)
	case OpObject:
		return appendBytes(appendText(appendHead(b, 4, 2), string(p.Kind)), p.Hash[:])
	default: // save, leave
		return appendHead(appendText(appendHead(b, 4, 2), string(p.Kind)), 0, p.Amount)
	}
}

// DecodeOrder reads an order's payload. What does not re-encode to itself, or is
// out of bounds, is refused with [CodeMalformed]; more than 1,000 operations, or
// none, with [CodeTooManyOperations].
func DecodeOrder(payload []byte) (Order, error) {
	var raw struct {
		_          struct{} `cbor:",toarray"`
		Origin     string
		From       string
		ID         []byte
		Created    uint64
		Expires    uint64
		Operations []cbor.RawMessage
	}
	if err := decoding.Unmarshal(payload, &raw); err != nil {
		return Order{}, wrapf(CodeMalformed, err, "order")
	}
	if n := len(raw.Operations); n == 0 || n > MaxOperations {
		return Order{}, failf(CodeTooManyOperations, "an order has 1 to %d operations, this one has %d", MaxOperations, n)
	}
	o := Order{Origin: raw.Origin, From: raw.From, Created: raw.Created, Expires: raw.Expires}
	if len(raw.ID) != len(o.ID) {
		return Order{}, failf(CodeMalformed, "an order id has 16 bytes, this one has %d", len(raw.ID))
	}
	copy(o.ID[:], raw.ID)
	if o.Created >= torq.TimeLimitMS || o.Expires >= torq.TimeLimitMS {
		return Order{}, failf(CodeMalformed, "an order's times are Unix milliseconds below 2^48")
	}
	if !walletAccount(o.From) {
		return Order{}, failf(CodeMalformed, "an order is from member:<id> or org:<id>")
	}
	o.Operations = make([]Operation, len(raw.Operations))
	for i, item := range raw.Operations {
		if err := o.Operations[i].decode(item); err != nil {
			err.(*Error).Operation = i
			return Order{}, err
		}
	}
	if again := o.Encode(); !bytes.Equal(again, payload) {
		return Order{}, failf(CodeMalformed, "an order that is not in its canonical form")
	}
	return o, nil
}

func (p *Operation) decode(item cbor.RawMessage) error {
	var fields []cbor.RawMessage
	if err := decoding.Unmarshal(item, &fields); err != nil || len(fields) < 2 || len(fields) > 4 {
		return failf(CodeMalformed, "an operation is a list of its name and what it needs")
	}
	if err := decoding.Unmarshal(fields[0], &p.Kind); err != nil {
		return failf(CodeMalformed, "an operation begins with its name")
	}
	into, ok := p.fields()
	if !ok {
		return failf(CodeMalformed, "no operation %q", clip(string(p.Kind)))
	}
	if len(into) != len(fields)-1 {
		return failf(CodeMalformed, "operation %q has %d fields, needs %d", p.Kind, len(fields)-1, len(into))
	}
	for i, field := range fields[1:] {
		if !readField(field, into[i]) {
			return failf(CodeMalformed, "operation %q: field %d is not what it should be", p.Kind, i+1)
		}
	}
	return p.check()
}

// fields are where an operation's fields go, in order.
func (p *Operation) fields() ([]any, bool) {
	switch p.Kind {
	case OpSend:
		return []any{&p.To, &p.Amount, &p.Memo}, true
	case OpSave, OpLeave:
		return []any{&p.Amount}, true
	case OpBond:
		return []any{&p.Amount, &p.Hash}, true
	case OpInvest:
		return []any{&p.To, &p.Amount}, true
	case OpObject:
		return []any{&p.Hash}, true
	}
	return nil, false
}

func readField(field cbor.RawMessage, into any) bool {
	hash, ok := into.(*merkle.Hash)
	if !ok {
		return decoding.Unmarshal(field, into) == nil
	}
	var raw []byte
	if decoding.Unmarshal(field, &raw) != nil || len(raw) != len(hash) {
		return false
	}
	copy(hash[:], raw)
	return true
}

func (p *Operation) check() error {
	switch {
	case p.Amount > torq.MaxInteger:
		return failf(CodeMalformed, "operation %q: amount over 2^53-1", p.Kind)
	case len(p.Memo) > MaxMemo:
		return failf(CodeMalformed, "a memo has at most %d bytes, this one has %d", MaxMemo, len(p.Memo))
	case len(p.To) > 512:
		return failf(CodeMalformed, "operation %q: a name of %d bytes", p.Kind, len(p.To))
	}
	return nil
}

// CheckOrder does everything about a signed order that needs no books: its form,
// that it is for this reserve, that it has not expired at now, and that its account
// signed it. keys are the keys enrolled for the account in the envelope's order
// ([OrderFrom] names it); they count when their role is the account's class and
// their name its id, and when they are valid at now. Whether the account can pay is
// the Book's business.
//
// A repeated order whose time has passed is refused here, though its first posting
// stands: a caller that wants to hand out the first receipt asks for the order's
// key first.
func CheckOrder(env seal.Envelope, origin string, keys []seal.Key, now uint64) (Order, error) {
	c, err := NewSubmit(env)
	if err != nil {
		return Order{}, err
	}
	if err := c.Check(origin, keys, now); err != nil {
		return Order{}, err
	}
	return c.Order(), nil
}

// OrderFrom reads the order in an envelope, which may be unsigned.
func OrderFrom(env seal.Envelope) (Order, error) {
	if env.PayloadType != TypeOrder {
		return Order{}, failf(CodeMalformed, "%q is not an order", clip(env.PayloadType))
	}
	return DecodeOrder(env.Payload)
}

// maxSkew is how far in the future an order may have been made.
const maxSkew = 120_000

func (o *Order) checkTime(now uint64) error {
	if now >= o.Expires {
		return failf(CodeExpired, "the order expired at %d, it is %d", o.Expires, now)
	}
	if o.Created > now+maxSkew {
		return failf(CodeExpired, "the order was made at %d, in the future; it is %d", o.Created, now)
	}
	return nil
}

// walletAccount reports whether account is a well-formed wallet's account.
func walletAccount(account string) bool {
	_, id, ok := splitAccount(account)
	return ok && seal.ValidID(id)
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
