package ledger

import (
	"strings"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/seal"
)

// NewSubmit reads the order in an envelope, which may be unsigned, and does once whatever
// posting it will need and nobody's money decides, so that the one writer need not. The
// envelope MUST NOT change afterwards.
func NewSubmit(env seal.Envelope) (*Submit, error) {
	c := &Submit{Envelope: env}
	if err := c.read(); err != nil {
		return c, err
	}
	encoded, err := EncodeCommand(c)
	c.ready = &prepared{encoded: encoded, print: fingerprint(c, encoded)}
	return c, err
}

// prepared is a command's encoding and fingerprint.
type prepared struct {
	encoded []byte
	print   merkle.Hash
}

func prepare(c Command) (*prepared, error) {
	if s, ok := c.(*Submit); ok && s.ready != nil {
		return s.ready, nil
	}
	encoded, err := EncodeCommand(c)
	if err != nil {
		return nil, err
	}
	return &prepared{encoded: encoded, print: fingerprint(c, encoded)}, nil
}

// Order is the order in the envelope; zero when it holds none.
func (c *Submit) Order() Order {
	if c.read() != nil {
		return Order{}
	}
	return *c.order
}

// Check is [CheckOrder] for a command that is read already.
func (c *Submit) Check(origin string, keys []seal.Key, now uint64) error {
	if err := c.read(); err != nil {
		return err
	}
	o := c.order
	if o.Origin != origin {
		return failf(CodeBadSignature, "the order is for the reserve %q, this is %q", clip(o.Origin), origin)
	}
	role, id, _ := strings.Cut(o.From, ":")
	var own []seal.Key
	for _, k := range keys {
		if k.Role == role && k.Name == id {
			own = append(own, k)
		}
	}
	if len(own) == 0 {
		return failf(CodeUnknownAccount, "no keys are enrolled for %s", o.From)
	}
	if err := seal.VerifyEnvelope(c.Envelope, own, seal.RequiredAlgorithms(role), now); err != nil {
		return wrapf(CodeBadSignature, err, "order of %s", o.From)
	}
	return o.checkTime(now)
}
