package wallet

import (
	"fmt"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// Anchor is the charters of a reserve, verified: what the checks of receipts and heads
// hang on.
type Anchor struct{ registry *proof.Registry }

// NewAnchor verifies the charters of a reserve, from version 1 on. The error is a
// *proof.Fault.
func NewAnchor(charters []seal.Envelope, opts CheckOptions) (*Anchor, error) {
	r, err := anchor(charters, opts)
	return &Anchor{r}, err
}

// Head checks that a head of the postings is signed by the vault and is in the log. The
// error is a *proof.Fault.
func (a *Anchor) Head(env seal.Envelope, log proof.BundleLog) (proof.Head, error) {
	digest := env.Digest()
	h, err := proof.DecodeHead(env.Payload)
	if err != nil || env.PayloadType != proof.TypeHead {
		return h, faultf("head", digest, "form", "it is no head of the postings: %v", err)
	}
	name := fmt.Sprintf("head of posting %d", h.Seq)
	if h.Origin != a.registry.Origin() {
		return h, faultf(name, digest, "origin", "it is of %q, the charter of %q", h.Origin, a.registry.Origin())
	}
	if err := a.registry.VerifySigned(env, seal.RoleVault, "", h.Issued); err != nil {
		return h, err
	}
	_, _, err = checkLogged(a.registry, name, env, log, h.Issued)
	return h, err
}

// Receipt checks that a receipt is the vault's, and for this order. The error is a
// *proof.Fault.
func (a *Anchor) Receipt(env, order seal.Envelope) (proof.Receipt, error) {
	digest := env.Digest()
	r, err := proof.DecodeReceipt(env.Payload)
	if err != nil || env.PayloadType != proof.TypeReceipt {
		return r, faultf("receipt", digest, "form", "it is no receipt: %v", err)
	}
	name := fmt.Sprintf("receipt of order %x", r.Order)
	o, err := ledger.OrderFrom(order)
	switch {
	case err != nil:
		return r, faultf(name, digest, "form", "%v", err)
	case r.Origin != a.registry.Origin() || o.Origin != r.Origin:
		return r, faultf(name, digest, "origin", "it is of %q, the charter of %q", r.Origin, a.registry.Origin())
	case r.Order != o.ID:
		return r, faultf(name, digest, "receipt_order", "it is for another order than %x", o.ID)
	}
	return r, a.registry.VerifySigned(env, seal.RoleVault, "", r.Issued)
}

// CheckPosted checks that a posting, as it is hashed, is the one that a receipt speaks
// of, and that it posted this order; and that a head which covers it does not contradict
// it. Together with the chain, which only an audit sees whole, that is all there is to
// see of a receipt. A fault of rule receipt_posting or receipt_head is signed evidence
// against the vault: keep receipt and head.
func CheckPosted(r proof.Receipt, order seal.Envelope, body []byte, head proof.Head) error {
	name := fmt.Sprintf("posting %d", r.Seq)
	p, err := ledger.DecodePosting(body)
	if err != nil {
		return faultf(name, r.Posting, "form", "%v", err)
	}
	if p.Seq != r.Seq || p.Hash != r.Posting {
		return faultf(name, r.Posting, "receipt_posting", "the receipt says posting %d with hash %s, the books have the order in posting %d with hash %s", r.Seq, r.Posting, p.Seq, p.Hash)
	}
	c, err := ledger.DecodeCommand(p.Command)
	submit, ok := c.(*ledger.Submit)
	if err != nil || !ok || submit.Envelope.Digest() != order.Digest() {
		return faultf(name, r.Posting, "receipt_posting", "it does not post the order %x", r.Order)
	}
	if head.Seq == r.Seq && head.Posting != r.Posting {
		return faultf(name, r.Posting, "receipt_head", "the logged head says hash %s", head.Posting)
	}
	return nil
}
