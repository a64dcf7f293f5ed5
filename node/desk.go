package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/trust"
	"robotorq.org/reserve/vault"
)

// desk hands to Trust and the vault what parties and operators ask for over HTTP.
type desk struct{ n *Node }

var _ api.Desk = desk{}

// Propose implements [api.Desk].
func (d desk) Propose(ctx context.Context, envelope []byte) (api.Contract, error) {
	env, err := envelopeOf(envelope)
	if err != nil {
		return api.Contract{}, err
	}
	c, err := d.n.trust.Propose(ctx, env)
	return d.shown(ctx, c.Number, err)
}

// Instruct implements [api.Desk].
func (d desk) Instruct(ctx context.Context, number uint64, envelope []byte) (api.Contract, error) {
	env, err := envelopeOf(envelope)
	if err != nil {
		return api.Contract{}, err
	}
	i, err := proof.DecodeInstruction(env.Payload)
	if err != nil {
		return api.Contract{}, &api.Error{Code: api.CodeMalformed, Detail: err.Error() + ".", Err: err}
	}
	if i.Contract != proof.ContractID(d.n.identity.Origin, number) {
		return api.Contract{}, api.Errorf(api.CodeMalformed, "The instruction is about %s, this is contract %d of %s.", i.Contract, number, d.n.identity.Origin)
	}
	_, err = d.n.trust.Instruct(ctx, env)
	return d.shown(ctx, number, err)
}

// Act implements [api.Desk].
func (d desk) Act(ctx context.Context, operator string, number uint64, request api.Action) (api.Contract, error) {
	_, err := d.n.trust.Act(ctx, number, proof.Action(request.Action), request.Reason)
	if err == nil {
		d.n.log.Info("contract led", "contract", number, "action", request.Action, "by", operator)
	}
	return d.shown(ctx, number, err)
}

// shown is a contract as everybody sees it, or the problem of the error.
func (d desk) shown(ctx context.Context, number uint64, err error) (api.Contract, error) {
	if err != nil {
		return api.Contract{}, asProblem(err)
	}
	return d.n.face.explorer.Contract(ctx, number)
}

// Evidence implements [api.Desk].
func (d desk) Evidence(ctx context.Context, number uint64) (api.Evidence, error) {
	answer := api.Evidence{Contract: number}
	if _, err := d.n.trust.Case(ctx, number); err != nil {
		return answer, asProblem(err)
	}
	proposal, instructions, err := d.n.trust.Evidence(ctx, number)
	if err != nil {
		return answer, err
	}
	if answer.Proposal, err = json.Marshal(proposal); err != nil {
		return answer, err
	}
	for _, env := range instructions {
		text, err := json.Marshal(env)
		if err != nil {
			return answer, err
		}
		answer.Instructions = append(answer.Instructions, text)
	}
	return answer, nil
}

// Investments implements [api.Desk].
func (d desk) Investments(ctx context.Context, number uint64) (api.Investments, error) {
	answer := api.Investments{Contract: number}
	c, err := d.n.trust.Case(ctx, number)
	if err != nil {
		return answer, asProblem(err)
	}
	money, found := d.n.vault.Money(c.Terms.ID)
	if found && money.Stage == ledger.Awarded {
		answer.Open = money.Terms.Stake - money.Invests()
	}
	for _, i := range money.Investments {
		answer.Items = append(answer.Items, api.Investment{JT: i.Amount, Paid: i.Paid})
	}
	return answer, nil
}

func shownPolicy(env seal.Envelope) (api.Policy, error) {
	p, err := policy.Decode(env.Payload)
	if err != nil {
		return api.Policy{}, err
	}
	text, err := json.Marshal(env)
	return api.Policy{Version: p.Version, Since: int64(p.Effective), Digest: env.Digest().String(), Document: env.Payload, Envelope: text}, err
}

// Announce implements [api.Desk].
func (d desk) Announce(ctx context.Context, envelope []byte) (api.Policy, error) {
	env, err := envelopeOf(envelope)
	if err != nil {
		return api.Policy{}, err
	}
	if env.PayloadType != proof.TypePolicy {
		return api.Policy{}, api.Errorf(api.CodeMalformed, "A policy has payload type %s, not %q.", proof.TypePolicy, env.PayloadType)
	}
	if err := d.n.trust.Submit(ctx, env); err != nil {
		return api.Policy{}, asProblem(err)
	}
	return shownPolicy(env)
}

// Recall implements [api.Desk].
func (d desk) Recall(ctx context.Context, envelope []byte) (api.Recalled, error) {
	env, err := envelopeOf(envelope)
	if err != nil {
		return api.Recalled{}, err
	}
	done, err := d.n.vault.Recall(ctx, env)
	if err != nil {
		return api.Recalled{}, asProblem(err)
	}
	return api.Recalled{Serial: done.Serial, Posting: done.Posting.Seq, Disputed: done.Disputed, Repeated: done.Repeated}, nil
}

func envelopeOf(document []byte) (env seal.Envelope, err error) {
	if err := json.Unmarshal(bytes.TrimSpace(document), &env); err != nil {
		return env, &api.Error{Code: api.CodeMalformed, Detail: "This is no DSSE envelope: " + err.Error() + ".", Err: err}
	}
	return env, nil
}

// asProblem turns a station's refusal into one for the caller. What is not the caller's
// fault stays as it is and is shown as internal.
func asProblem(err error) error {
	var fromTrust *trust.Error
	var fromLedger *ledger.Error
	var fromVault *vault.Error
	switch {
	case errors.As(err, &fromTrust):
		return trustProblem(fromTrust, err)
	case errors.As(err, &fromVault):
		return &api.Error{Code: api.CodeUnavailable, Detail: fromVault.Detail + ". Try again in a moment.", Err: err}
	case !errors.As(err, &fromLedger):
		return err
	}
	switch fromLedger.Code {
	case ledger.CodeInvariant, ledger.CodeMismatch, ledger.CodeKeyLookup, ledger.CodeBehind, ledger.CodeOutOfOrder:
		return err
	}
	problem := &api.Error{Code: api.Code(fromLedger.Code), Detail: sentence(fromLedger.Detail), Err: err}
	var reasons ledger.Refusals
	if errors.As(err, &reasons) {
		problem.Detail = fmt.Sprintf("The vault check refuses %s.", fromLedger.Detail)
		for _, r := range reasons {
			problem.Errors = append(problem.Errors, r.Reason+": "+r.Detail)
		}
	} else if fromLedger.Err != nil {
		problem.Detail = sentence(fromLedger.Detail + ": " + fromLedger.Err.Error())
	}
	return problem
}

func trustProblem(e *trust.Error, err error) error {
	code := api.Code(e.Code)
	switch e.Code {
	case trust.CodeRefused:
		code = api.CodeMalformed
		if fault := proof.AsFault(err); fault != nil && fault.Rule == "version" {
			code = api.CodeConflict
		}
	case trust.CodePartial:
		code = api.CodeForbidden
	}
	detail := e.Detail
	if e.Err != nil {
		detail = strings.TrimPrefix(detail+": "+e.Err.Error(), ": ")
	}
	return &api.Error{Code: code, Detail: sentence(detail), Err: err}
}

// sentence makes a detail one.
func sentence(detail string) string {
	if detail == "" || strings.HasSuffix(detail, ".") {
		return detail
	}
	return strings.ToUpper(detail[:1]) + detail[1:] + "."
}
