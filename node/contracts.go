package node

import (
	"context"
	"crypto/rand"
	"slices"

	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/trust"
)

// accepted lets Trust ask the digger, which is opened after it.
type accepted struct{ n *Node }

func (a accepted) Accepted(contract string) uint64 { return a.n.digger.Accepted(contract) }

func (a accepted) Head(robot string) (proof.Link, bool) { return a.n.digger.Head(robot) }

// Closed reads the clock before it asks: a batch that is being sealed was begun before
// the digger answers.
func (a accepted) Closed(contract string) (closed bool) {
	now := a.n.nowMS()
	a.n.digger.With(func(r *proof.Registry) {
		closing, known := r.Closing(contract)
		closed = known && now >= closing.Closed
	})
	return closed
}

// contract leads terms from a proposal, which the enterprise's keys sign, to a funded
// contract: what people do by `contract propose`, `countersign`, `award` and `fund`. An
// error leaves it where it is; the same proposal goes on from there.
func (n *Node) contract(ctx context.Context, enterprise *seal.Signer, terms proof.Contract) (trust.Case, error) {
	p := proof.Proposal{
		Origin: n.identity.Origin, Enterprise: terms.Enterprise, Owner: terms.Owner, Robots: slices.Sorted(slices.Values(terms.Robots)),
		Digger: terms.Digger, Refinery: terms.Refinery, Work: terms.Work, Stake: terms.Stake, VaultPart: terms.VaultPart,
		Release: terms.Release, DateToMarket: terms.DateToMarket, Created: n.nowMS(), Deadline: terms.Deadline,
	}
	rand.Read(p.ID[:]) // never fails (crypto/rand)
	env, err := enterprise.Sign(proof.TypeProposal, p.Encode())
	if err != nil {
		return trust.Case{}, err
	}
	c, err := n.trust.Propose(ctx, env)
	if err != nil {
		return c, err
	}
	return n.lead(ctx, c)
}

// lead takes a proposed contract to its funding.
func (n *Node) lead(ctx context.Context, c trust.Case) (trust.Case, error) {
	for _, action := range []proof.Action{proof.ActionCountersign, proof.ActionAward, proof.ActionFund} {
		var err error
		if c, err = n.trust.Act(ctx, c.Number, action, ""); err != nil {
			return c, err
		}
	}
	return c, nil
}
