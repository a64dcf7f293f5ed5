package ledger

import (
	"strings"

	"robotorq.org/reserve/seal"
)

// NewSubmit reads the order in an envelope, which may be unsigned, once for checking and
// posting it: so the writer need not.
func NewSubmit(env seal.Envelope) (*Submit, error) {
	c := &Submit{Envelope: env}
	return c, c.read()
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
