package coordinator

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/books"
	"robotorq.org/reserve/market/rails"
	"robotorq.org/reserve/market/wire"
)

// Register enters a robot or changes it.
func (d *Desk) Register(ctx context.Context, s Signed, r market.Registration) (a market.Agent, err error) {
	err = d.write(ctx, func(b *books.Tx) error {
		if err := s.once(b); err != nil {
			return err
		}
		a, err = d.m.Register(b, r, d.Now())
		return err
	})
	return a, err
}

// Heartbeat says that a robot is there.
func (d *Desk) Heartbeat(ctx context.Context, agentID string, capabilities []string) (a market.Agent, err error) {
	err = d.write(ctx, func(b *books.Tx) error {
		a, err = d.m.Heartbeat(b, agentID, capabilities, d.Now())
		return err
	})
	return a, err
}

// Admit lets a robot take part.
func (d *Desk) Admit(ctx context.Context, agentID string, admitted bool) (a market.Agent, err error) {
	err = d.write(ctx, func(b *books.Tx) error {
		a, err = d.m.Admit(b, agentID, admitted)
		return err
	})
	return a, err
}

// Agent looks a robot up; its code is agent_not_found when there is none.
func (d *Desk) Agent(ctx context.Context, id string) (a market.Agent, err error) {
	err = d.read(ctx, func(b *books.Tx) error {
		found, ok, err := b.Agent(id)
		if err == nil && !ok {
			err = market.Refuse(market.CodeAgentNotFound, "There is no agent %s.", id)
		}
		a = found
		return err
	})
	return a, err
}

// Create enters a task and makes the invoice that funds it. The books know the task before its
// client knows the invoice.
func (d *Desk) Create(ctx context.Context, t market.Task, o Once) (c wire.Created, err error) {
	now := d.Now()
	if t, err = d.m.Prepare(t, now); err != nil {
		return c, err
	}
	var repeated bool
	if err = d.read(ctx, func(b *books.Tx) error { repeated, err = o.kept(b, &c); return err }); err != nil || repeated {
		return c, err
	}
	t.TaskID = newID()
	n := market.NewTask{}
	if t.EscrowMode != market.ModeAccount {
		if c.Invoice, err = d.invoice(ctx, &t, &n.Hash); err != nil {
			return wire.Created{}, err
		}
		if err := d.o.At(InvoiceMade); err != nil {
			return wire.Created{}, err
		}
	}
	err = d.write(ctx, func(b *books.Tx) error {
		if repeated, err = o.kept(b, &c); err != nil || repeated {
			return err
		}
		n.Task = t
		if c.Task, err = d.m.Create(b, n, now); err != nil {
			return err
		}
		return o.keep(b, c, now)
	})
	if err != nil {
		return wire.Created{}, err
	}
	if c.Invoice != nil && !repeated {
		d.watch.follow(n.Hash)
	}
	return c, nil
}

// invoice asks the Lightning node for an invoice, unless it could not be received.
func (d *Desk) invoice(ctx context.Context, t *market.Task, hash *rails.Hash) (*wire.Invoice, error) {
	l, err := d.o.Lightning.Liquidity(ctx)
	if err != nil {
		return nil, err
	}
	if l.InboundSats < t.EscrowSats {
		return nil, market.Refuse(market.CodeCannotReceive, "The coordinator's channels can receive %d sats, the task takes %d. Try a smaller amount, or later.", l.InboundSats, t.EscrowSats)
	}
	var preimage rails.Preimage
	rand.Read(preimage[:]) // never fails (crypto/rand)
	*hash = sha256.Sum256(preimage[:])
	p := d.o.Policy
	request := rails.InvoiceRequest{Preimage: preimage, AmountSats: t.EscrowSats, Memo: "robot task " + t.TaskID, ExpirySeconds: (p.InvoiceTTLMs + 999) / 1000}
	if t.EscrowMode == market.ModeHold {
		request.Hold, request.CLTVDelta = true, p.HoldDeltaBlocks
		t.Preimage = preimage
	}
	made, err := d.o.Lightning.CreateInvoice(ctx, request)
	if err != nil {
		return nil, err
	}
	t.InvoiceRef, t.PaymentHash, t.InvoiceExpiresAtMs = made.Bolt11, hex.EncodeToString(hash[:]), made.ExpiresAtMs
	return &wire.Invoice{Bolt11: made.Bolt11, PaymentHash: t.PaymentHash, ExpiresAtMs: made.ExpiresAtMs}, nil
}

// Task looks a task up.
func (d *Desk) Task(ctx context.Context, id string) (t market.Task, err error) {
	err = d.read(ctx, func(b *books.Tx) error {
		found, ok, err := b.Task(id)
		if err == nil && !ok {
			err = market.Refuse(market.CodeTaskNotFound, "There is no task %s.", id)
		}
		t = found
		return err
	})
	return t, err
}

// Proof is the payload that a robot handed in; nil when there is none.
func (d *Desk) Proof(ctx context.Context, id string) (payload json.RawMessage, err error) {
	err = d.read(ctx, func(b *books.Tx) error { payload, err = b.Proof(id); return err })
	return payload, err
}

// Tasks lists tasks.
func (d *Desk) Tasks(ctx context.Context, f books.Filter) (out []market.Task, err error) {
	err = d.read(ctx, func(b *books.Tx) error { out, err = b.Tasks(f); return err })
	return out, err
}

// Available lists what an agent could claim now, the oldest first.
func (d *Desk) Available(ctx context.Context, agentID string, limit int) (out []market.Task, err error) {
	now := d.Now()
	err = d.read(ctx, func(b *books.Tx) error {
		a, ok, err := b.Agent(agentID)
		if err != nil {
			return err
		}
		if !ok {
			return market.Refuse(market.CodeAgentNotRegistered, "Agent %s is not registered.", agentID)
		}
		const page, most = 200, 25 // pages of tasks that are looked at
		var afterMs int64
		var afterID string
		for range most {
			tasks, err := b.Open(afterMs, afterID, page)
			if err != nil {
				return err
			}
			for _, t := range tasks {
				if d.m.Claimable(t, a, now) {
					if out = append(out, t); len(out) == limit {
						return nil
					}
				}
				afterMs, afterID = t.CreatedAtMs, t.TaskID
			}
			if len(tasks) < page {
				return nil
			}
		}
		return nil
	})
	return out, err
}

// Claim gives a task to a robot. A payment that is only held is taken in before the claim is
// good; when the Lightning node cannot be asked the claim stands and the jobs go on with it.
func (d *Desk) Claim(ctx context.Context, taskID string, s Signed) (t market.Task, err error) {
	err = d.write(ctx, func(b *books.Tx) error {
		if err := s.once(b); err != nil {
			return err
		}
		t, err = d.m.Claim(b, taskID, s.AgentID, d.Now())
		return err
	})
	if err != nil || t.EscrowState != market.EscrowCapturing {
		return t, err
	}
	if err := d.o.At(HoldClaimed); err != nil {
		return t, err
	}
	if t, err = d.capture(ctx, t); err != nil {
		return t, err
	}
	if t.Status != market.Claimed {
		return t, market.Refuse(market.CodeTaskNotClaimable, "Task %s is %s: %s.", t.TaskID, t.Status, t.Reason)
	}
	return t, nil
}

// capture takes in what a hold invoice holds.
func (d *Desk) capture(ctx context.Context, t market.Task) (market.Task, error) {
	hash, err := books.HashOf(t.PaymentHash)
	if err != nil {
		return t, err
	}
	settled := d.o.Lightning.SettleHold(ctx, t.Preimage)
	if class := rails.ClassOf(settled); settled != nil && class != rails.Refused && class != rails.NotFound {
		return t, settled
	}
	if err := d.o.At(HoldSettled); err != nil {
		return t, err
	}
	inv, err := d.o.Lightning.Invoice(ctx, hash) // more may have come than was asked for
	if settled != nil && rails.ClassOf(err) == rails.NotFound && err != nil {
		return d.paid(ctx, rails.Invoice{Hash: hash, State: rails.InvoiceCancelled})
	}
	if err == nil && settled == nil && inv.State != rails.InvoiceSettled {
		err = &rails.Error{Class: rails.Unavailable, Op: "settle hold", Reason: "the node says that the invoice is " + string(inv.State) + " still"}
	}
	if err != nil {
		return t, err
	}
	return d.paid(ctx, inv)
}

// paid tells the books about an invoice.
func (d *Desk) paid(ctx context.Context, inv rails.Invoice) (t market.Task, err error) {
	err = d.write(ctx, func(b *books.Tx) error {
		t, err = d.m.Paid(b, inv, d.Now())
		return err
	})
	if err == nil && t.HoldToCancel(inv.State) {
		err = d.o.Lightning.CancelInvoice(ctx, inv.Hash)
	}
	return t, err
}

// Prove takes a robot's proof. The schema is checked before the books are asked to wait for it.
func (d *Desk) Prove(ctx context.Context, taskID string, s Signed, payload []byte) (t market.Task, err error) {
	p := market.Proof{AgentID: s.AgentID, Payload: payload}
	if t, err = d.Task(ctx, taskID); err != nil {
		return t, err
	}
	if t.Status == market.Claimed && t.ClaimedBy == s.AgentID {
		if len(t.ProofSchema) > 0 && len(payload) <= market.MaxProof {
			schema, err := market.CompileSchema(t.ProofSchema)
			if err != nil {
				return t, err
			}
			p.Faults = schema.Check(payload)
		}
		if d.o.Ore != nil {
			p.Ore = d.o.Ore(ctx, payload)
		}
	}
	err = d.write(ctx, func(b *books.Tx) error {
		if err := s.once(b); err != nil {
			return err
		}
		t, err = d.m.Prove(b, taskID, p, d.Now())
		return err
	})
	return t, err
}

// Settle is the client's acceptance.
func (d *Desk) Settle(ctx context.Context, taskID, client string, o Once) (t market.Task, err error) {
	return d.decide(ctx, o, func(b *books.Tx, now int64) (market.Task, error) { return d.m.Settle(b, taskID, client, newID(), now) })
}

// Resolve ends a dispute.
func (d *Desk) Resolve(ctx context.Context, taskID string, r market.Resolution, o Once) (market.Task, error) {
	return d.decide(ctx, o, func(b *books.Tx, now int64) (market.Task, error) { return d.m.Resolve(b, taskID, r, newID(), now) })
}

// Dispute stops the automatic settlement.
func (d *Desk) Dispute(ctx context.Context, taskID, client, reason string) (market.Task, error) {
	return d.decide(ctx, Once{}, func(b *books.Tx, now int64) (market.Task, error) {
		return d.m.Dispute(b, taskID, client, reason, now)
	})
}

func (d *Desk) decide(ctx context.Context, o Once, op func(b *books.Tx, now int64) (market.Task, error)) (t market.Task, err error) {
	err = d.write(ctx, func(b *books.Tx) error {
		if ok, err := o.kept(b, &t); err != nil || ok {
			return err
		}
		now := d.Now()
		if t, err = op(b, now); err != nil {
			return err
		}
		return o.keep(b, t, now)
	})
	return t, err
}

// Cancel gives a task that no robot has claimed back to its client. An unpaid invoice is made
// unpayable first; when it turns out to be paid, the payment is refunded.
func (d *Desk) Cancel(ctx context.Context, taskID, client string) (t market.Task, err error) {
	cancel := func(b *books.Tx, now int64) (market.Task, error) { return d.m.Cancel(b, taskID, client, now) }
	if t, err = d.decide(ctx, Once{}, cancel); err != nil {
		return t, err
	}
	if t.Status != market.PendingFunding && t.Status != market.Refunding {
		return t, nil
	}
	if t, err = d.free(ctx, t); err != nil || t.Status != market.Funded {
		return t, err
	}
	return d.decide(ctx, Once{}, cancel)
}

// free cancels the invoice of a task that waits for payment or is to give back what it holds.
func (d *Desk) free(ctx context.Context, t market.Task) (market.Task, error) {
	hash, err := books.HashOf(t.PaymentHash)
	if err != nil {
		return t, err
	}
	err = d.o.Lightning.CancelInvoice(ctx, hash)
	switch class := rails.ClassOf(err); {
	case err == nil || class == rails.NotFound:
		return d.paid(ctx, rails.Invoice{Hash: hash, State: rails.InvoiceCancelled})
	case class == rails.Refused:
		inv, err := d.o.Lightning.Invoice(ctx, hash)
		if err != nil {
			return t, err
		}
		return d.paid(ctx, inv)
	}
	return t, err
}

// Stranger is the refusal of a robot that is not registered and asks for a task that has to be in
// a state: no such task, wrong state, then who it is.
func (d *Desk) Stranger(ctx context.Context, taskID, agentID string, needs market.Status) error {
	t, err := d.Task(ctx, taskID)
	switch {
	case err != nil:
		return err
	case t.Status != needs && needs == market.Claimed:
		return market.Refuse(market.CodeTaskNotClaimed, "Task %s is %s.", taskID, t.Status)
	case t.Status != needs:
		return market.Refuse(market.CodeTaskNotClaimable, "Task %s is %s.", taskID, t.Status)
	}
	return market.Refuse(market.CodeAgentNotRegistered, "Agent %s is not registered.", agentID)
}
