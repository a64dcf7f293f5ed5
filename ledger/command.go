package ledger

import (
	"bytes"
	"strconv"

	"github.com/fxamacker/cbor/v2"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// Kind names a command and the posting that it makes.
type Kind string

// Kinds of commands.
const (
	KindPolicy  Kind = "policy"
	KindEnrol   Kind = "enrol"
	KindStatus  Kind = "status"
	KindOrder   Kind = "order"
	KindAward   Kind = "award"
	KindFund    Kind = "fund"
	KindAccept  Kind = "accept"
	KindAbandon Kind = "abandon"
	KindMint    Kind = "mint"
	KindClose   Kind = "close"
	KindRecall  Kind = "recall"
	KindRedeem  Kind = "redeem"
	KindReissue Kind = "reissue"

	// Due by time or by what has happened; [Book.Advance] makes them.
	KindTick    Kind = "tick"
	KindMature  Kind = "mature"
	KindRelease Kind = "release"
	KindEnd     Kind = "end"
	KindRepay   Kind = "repay"
)

// Command is what changes the books. Commands are plain values; each has a kind and
// an idempotency key that follows from what it names.
type Command interface {
	Kind() Kind
	Key() string
}

// Adopt lets a policy document hold from its effective_ms on, or from its posting
// if that is later. The first adopted
// document starts the books, and its time is their first hour.
type Adopt struct {
	_        struct{} `cbor:",toarray"`
	Document []byte   // RFC 8785 form, verified
}

// Enrol opens a wallet for a member (who receives the dividend) or an organisation.
type Enrol struct {
	_       struct{} `cbor:",toarray"`
	Account string
	Digest  merkle.Hash // of the enrolment: the same one again is no second wallet
}

// Statuses of an enrolment.
const (
	StatusActive = seal.StatusActive // a member receives the dividend
	StatusLeft   = seal.StatusLeft   // keeps the wallet, receives no dividend
	StatusFrozen = seal.StatusFrozen // receives and decays but pays nothing
)

// SetStatus follows a registrar's new version of an enrolment. Leaving active for
// frozen changes nothing about the dividend.
type SetStatus struct {
	_       struct{} `cbor:",toarray"`
	Account string
	Status  string
	Version uint64 // of the enrolment
}

// Submit posts an order. Its signatures were verified by [CheckOrder]; they stay
// in the command so that an audit can verify them again.
type Submit struct {
	_        struct{} `cbor:",toarray"`
	Envelope seal.Envelope

	order *Order    // read once
	ready *prepared // by [NewSubmit]
}

// Award registers a contract after its vault check ([Book.CheckContract]) and
// locks the enterprise's deposit; investments are open until it is funded.
type Award struct {
	_         struct{} `cbor:",toarray"`
	Terms     Terms
	VaultPart torq.JT // of S: what the vault is asked for, the rest is left to investors
}

// Fund moves the vault's part of the stake to the contract: whole or not at all.
type Fund struct {
	_         struct{} `cbor:",toarray"`
	Contract  uint64
	VaultPart torq.JT // must be S less what is invested
}

// Accept says that all work of a contract is accepted by its digger: its robots
// are free for another one, while its last ingots wait for their certificate.
type Accept struct {
	_        struct{} `cbor:",toarray"`
	Contract uint64
}

// Abandon ends a contract that was awarded and not funded: investments go back
// scaled by D_now / D_invested, and so does the deposit unless the enterprise
// withdrew.
type Abandon struct {
	_         struct{} `cbor:",toarray"`
	Contract  uint64
	Withdrawn bool // by the enterprise itself: the deposit is forfeit
}

// Mint turns one proven certificate into money.
type Mint struct {
	_      struct{} `cbor:",toarray"`
	Serial uint64
	Digest merkle.Hash // of the certificate
	Work   []Work      // sorted by contract, each once; together one certificate
}

// Work is one contract's ore in a certificate.
type Work struct {
	_        struct{} `cbor:",toarray"`
	Contract uint64
	Ore      uint64
}

// Close ends the acceptance of a contract's ore before its work is complete. What
// accepted but unminted ore will cost stays deployed, the rest goes back at once.
type Close struct {
	_        struct{} `cbor:",toarray"`
	Contract uint64
	Accepted uint64 // ore accepted until closed_ms; what fills no ingot is dropped
	Cause    Cause
}

// Recall takes back a certificate that was proven wrong: at once if the StakeVault
// holds as much, else it is disputed until it does.
type Recall struct {
	_      struct{} `cbor:",toarray"`
	Serial uint64
	Proof  []byte // the signed recall, for the audit; verified by the caller
}

// Redeem pays a bond into a wallet. The bearer's signature was verified by the
// caller.
type Redeem struct {
	_      struct{} `cbor:",toarray"`
	Serial uint64
	Payee  string
	Proof  []byte // the redemption's envelope, for the audit
}

// Reissue binds a bond to another key. The bearer's signature was verified by the
// caller.
type Reissue struct {
	_       struct{} `cbor:",toarray"`
	Serial  uint64
	KeyHash merkle.Hash
	Proof   []byte // the reissue's envelope, for the audit
}

// Tick is the demurrage of one full UTC hour and its split.
type Tick struct {
	_    struct{} `cbor:",toarray"`
	Hour uint64   // Unix hours: the tick is made at Hour · 3,600,000 ms
}

// Mature pays savings whose notice has run to their owner's wallet.
type Mature struct {
	_      struct{} `cbor:",toarray"`
	Notice uint64
}

// Release adds what falls due and pays one dividend.
type Release struct {
	_  struct{} `cbor:",toarray"`
	At uint64   // Unix ms, a multiple of release_every
}

// End pays out a contract that has nothing left to mint.
type End struct {
	_        struct{} `cbor:",toarray"`
	Contract uint64
}

// Repay posts a recall that waited for the StakeVault.
type Repay struct {
	_      struct{} `cbor:",toarray"`
	Serial uint64
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

func (*Adopt) Kind() Kind     { return KindPolicy }
func (*Enrol) Kind() Kind     { return KindEnrol }
func (*SetStatus) Kind() Kind { return KindStatus }
func (*Submit) Kind() Kind    { return KindOrder }
func (*Award) Kind() Kind     { return KindAward }
func (*Fund) Kind() Kind      { return KindFund }
func (*Accept) Kind() Kind    { return KindAccept }
func (*Abandon) Kind() Kind   { return KindAbandon }
func (*Mint) Kind() Kind      { return KindMint }
func (*Close) Kind() Kind     { return KindClose }
func (*Recall) Kind() Kind    { return KindRecall }
func (*Redeem) Kind() Kind    { return KindRedeem }
func (*Reissue) Kind() Kind   { return KindReissue }
func (*Tick) Kind() Kind      { return KindTick }
func (*Mature) Kind() Kind    { return KindMature }
func (*Release) Kind() Kind   { return KindRelease }
func (*End) Kind() Kind       { return KindEnd }
func (*Repay) Kind() Kind     { return KindRepay }

func (c *Adopt) Key() string     { return "policy/" + merkle.LeafHash(c.Document).String() }
func (c *Enrol) Key() string     { return "enrol/" + c.Account + "/" + c.Digest.String() }
func (c *SetStatus) Key() string { return "status/" + c.Account + "/" + decimal(c.Version) }
func (c *Award) Key() string     { return "award/" + decimal(c.Terms.Number) }
func (c *Fund) Key() string      { return "fund/" + decimal(c.Contract) }
func (c *Accept) Key() string    { return "accept/" + decimal(c.Contract) }
func (c *Abandon) Key() string   { return "abandon/" + decimal(c.Contract) }
func (c *Mint) Key() string      { return "certificate/" + decimal(c.Serial) }
func (c *Close) Key() string     { return "close/" + decimal(c.Contract) }
func (c *Recall) Key() string    { return "recall/" + decimal(c.Serial) }
func (c *Redeem) Key() string    { return "redeem/" + decimal(c.Serial) }
func (c *Reissue) Key() string {
	return "reissue/" + decimal(c.Serial) + "/" + merkle.LeafHash(append(c.KeyHash[:], c.Proof...)).String()
}
func (c *Tick) Key() string    { return "tick/" + decimal(c.Hour) }
func (c *Mature) Key() string  { return "mature/" + decimal(c.Notice) }
func (c *Release) Key() string { return "release/" + decimal(c.At) }
func (c *End) Key() string     { return "end/" + decimal(c.Contract) }
func (c *Repay) Key() string   { return "repay/" + decimal(c.Serial) }

// Key is the order's key; "" when the envelope holds no order.
func (c *Submit) Key() string {
	if c.read() != nil {
		return ""
	}
	return c.order.Key()
}

// read decodes the order once.
func (c *Submit) read() error {
	if c.order != nil {
		return nil
	}
	o, err := OrderFrom(c.Envelope)
	if err != nil {
		return err
	}
	c.order = &o
	return nil
}

// newCommand is an empty command of a kind, nil if there is none.
func newCommand(kind Kind) Command {
	switch kind {
	case KindPolicy:
		return &Adopt{}
	case KindEnrol:
		return &Enrol{}
	case KindStatus:
		return &SetStatus{}
	case KindOrder:
		return &Submit{}
	case KindAward:
		return &Award{}
	case KindFund:
		return &Fund{}
	case KindAccept:
		return &Accept{}
	case KindAbandon:
		return &Abandon{}
	case KindMint:
		return &Mint{}
	case KindClose:
		return &Close{}
	case KindRecall:
		return &Recall{}
	case KindRedeem:
		return &Redeem{}
	case KindReissue:
		return &Reissue{}
	}
	return newDueCommand(kind)
}

func newDueCommand(kind Kind) Command {
	switch kind {
	case KindTick:
		return &Tick{}
	case KindMature:
		return &Mature{}
	case KindRelease:
		return &Release{}
	case KindEnd:
		return &End{}
	case KindRepay:
		return &Repay{}
	}
	return nil
}

// EncodeCommand is the canonical CBOR of a command, [kind, [fields…]].
func EncodeCommand(c Command) ([]byte, error) {
	body, err := encoding.Marshal(c)
	if err != nil {
		return nil, wrapf(CodeMalformed, err, "command %s", c.Kind())
	}
	b := make([]byte, 0, len(body)+16)
	b = appendText(appendHead(b, 4, 2), string(c.Kind()))
	return append(b, body...), nil
}

// DecodeCommand reads the form of [EncodeCommand]; what does not re-encode to
// itself is refused with [CodeMalformed].
func DecodeCommand(data []byte) (Command, error) {
	var raw struct {
		_    struct{} `cbor:",toarray"`
		Kind Kind
		Body cbor.RawMessage
	}
	if err := decoding.Unmarshal(data, &raw); err != nil {
		return nil, wrapf(CodeMalformed, err, "command")
	}
	c := newCommand(raw.Kind)
	if c == nil {
		return nil, failf(CodeMalformed, "no command %q", clip(string(raw.Kind)))
	}
	if err := decoding.Unmarshal(raw.Body, c); err != nil {
		return nil, wrapf(CodeMalformed, err, "command %s", raw.Kind)
	}
	again, err := EncodeCommand(c)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, data) {
		return nil, failf(CodeMalformed, "command %s is not in its canonical form", raw.Kind)
	}
	return c, nil
}

// fingerprint is what makes two commands under one key the same: their encoding, of
// an order its digest (signatures may differ, Falcon's always do), of a recall not its
// proof.
func fingerprint(c Command, encoded []byte) merkle.Hash {
	switch c := c.(type) {
	case *Submit:
		return c.Envelope.Digest()
	case *Redeem:
		return merkle.LeafHash(append([]byte(c.Payee+"\x00"), c.Proof...))
	case *Reissue:
		return c.KeyHash
	case *Recall:
		return merkle.LeafHash([]byte(c.Key()))
	}
	return merkle.LeafHash(encoded)
}
