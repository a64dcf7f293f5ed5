package api

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"robotorq.org/reserve/torq"
)

// Payload types of what parties and operators sign.
const (
	ProposalType    = "application/vnd.robotorq.proposal.v1+cbor"
	InstructionType = "application/vnd.robotorq.instruction.v1+cbor"
	RecallType      = "application/vnd.robotorq.recall.v1+cbor"
	PolicyType      = "application/vnd.robotorq.policy.v1+json"
)

// Codes of contracts. A refusal of the vault check carries each of its reasons, with
// its figures, in the problem's errors.
const (
	CodeVaultCheck      Code = "vault_check"
	CodeWrongState      Code = "wrong_state"
	CodeUnknownContract Code = "unknown_contract"
)

// Desk is where contracts are led, policies announced and certificates taken back.
// Envelopes are DSSE JSON and carry their own authority. Errors are [*Error].
type Desk interface {
	// Propose takes an enterprise's proposal; the same one again gives the same contract.
	Propose(ctx context.Context, envelope []byte) (Contract, error)
	// Instruct follows an instruction about a contract.
	Instruct(ctx context.Context, number uint64, envelope []byte) (Contract, error)
	// Act is Instruct with the node's own trust key. The caller held a token of role
	// admin; operator is that token's name.
	Act(ctx context.Context, operator string, number uint64, request Action) (Contract, error)
	// Evidence is what was signed about a contract.
	Evidence(ctx context.Context, number uint64) (Evidence, error)
	// Investments are those in a contract, in the order in which they were made.
	Investments(ctx context.Context, number uint64) (Investments, error)

	// Announce admits a policy that root has signed.
	Announce(ctx context.Context, envelope []byte) (Policy, error)

	// Recall takes back a certificate by a signed recall.
	Recall(ctx context.Context, envelope []byte) (Recalled, error)
}

// Action is what an operator asks of a contract.
type Action struct {
	Action string `json:"action" enum:"countersign,reject,award,fund,cancel"`
	Reason string `json:"reason,omitempty" maxLength:"200"`
}

// Evidence is what was signed about a contract.
type Evidence struct {
	Contract     uint64            `json:"contract"`
	Proposal     json.RawMessage   `json:"proposal" doc:"The enterprise's proposal, DSSE; null where there was none"`
	Instructions []json.RawMessage `json:"instructions" nullable:"false" doc:"What moved the contract, DSSE"`
}

// Investments are the investors' part of a contract's stake.
type Investments struct {
	Contract uint64       `json:"contract"`
	Open     torq.JT      `json:"open_jt" doc:"What may still be invested"`
	Items    []Investment `json:"items" nullable:"false"`
}

// Investment is one investor's part.
type Investment struct {
	JT   torq.JT `json:"jt"`
	Paid torq.JT `json:"paid_jt" doc:"Of it, paid for labour and replenished"`
}

// Recalled is what became of a recall.
type Recalled struct {
	Serial   uint64 `json:"serial"`
	Posting  uint64 `json:"posting"`
	Disputed bool   `json:"disputed" doc:"True: the StakeVault does not hold a certificate's money yet"`
	Repeated bool   `json:"repeated"`
}

type instructInput struct {
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"128" doc:"Accepted; repeating an instruction is safe with and without it: what was done before changes nothing"`
	Number         uint64 `path:"number" minimum:"1" doc:"Number of the contract"`
	RawBody        []byte
	Body           Envelope
}

type actionInput struct {
	Authorization  string `header:"Authorization" maxLength:"1024" doc:"Bearer token of role admin"`
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"128" doc:"Accepted; repeating an action is safe with and without it: what was done before changes nothing"`
	Number         uint64 `path:"number" minimum:"1" doc:"Number of the contract"`
	Body           Action
}

// desk registers contracts' life, policies and recalls.
func (s *Server) desk(api huma.API) {
	d := s.options.Desk
	get(s, api, "get-contract-evidence", "/contracts/{number}/evidence", tagExplorer, "What was signed about a contract",
		func(ctx context.Context, in *contractInput) (Evidence, error) { return d.Evidence(ctx, in.Number) })
	get(s, api, "get-contract-investments", "/contracts/{number}/investments", tagExplorer, "The investors' part of a contract's stake, without their names",
		func(ctx context.Context, in *contractInput) (Investments, error) {
			return d.Investments(ctx, in.Number)
		})
	signed(s, api, "post-proposal", "/contracts", "Propose a contract",
		"The body is a DSSE envelope of type "+ProposalType+", signed by the enterprise. Repeating it is safe.", ProposalType, d.Propose)
	signed(s, api, "post-policy", "/policies", "Announce the next policy",
		"The body is a DSSE envelope of type "+PolicyType+", signed by root. Repeating it is safe.", PolicyType, d.Announce)
	signed(s, api, "post-recall", "/recalls", "Take back a certificate that was proven wrong",
		"The body is a DSSE envelope of type "+RecallType+", signed by a trust key of the charter. Repeating it is safe.", RecallType, d.Recall)
	huma.Register(api, huma.Operation{
		OperationID: "post-instruction", Method: http.MethodPost, Path: "/api/v1/contracts/{number}/instructions", Tags: []string{tagContract},
		Summary:      "Move a contract along its life",
		Description:  "The body is a DSSE envelope of type " + InstructionType + ", signed by a trust key of the charter, or by the enterprise to withdraw. Repeating it is safe.",
		MaxBodyBytes: maxEnvelope,
		Middlewares:  huma.Middlewares{s.door},
	}, func(ctx context.Context, in *instructInput) (*answer[Contract], error) {
		if in.Body.PayloadType != InstructionType {
			return nil, s.fail(ctx, Errorf(CodeMalformed, "An instruction has payload type %s, not %q.", InstructionType, in.Body.PayloadType))
		}
		done, err := s.write(ctx)
		if err != nil {
			return nil, err
		}
		defer done()
		c, err := d.Instruct(ctx, in.Number, in.RawBody)
		return told(ctx, s, c, err)
	})
	huma.Register(api, huma.Operation{
		OperationID: "post-action", Method: http.MethodPost, Path: "/api/v1/contracts/{number}/actions", Tags: []string{tagContract},
		Summary:     "Move a contract along its life with the trust key of this node",
		Description: "For operators who hold a token: the node signs the instruction. Repeating it is safe.",
		Security:    []map[string][]string{{schemeToken: {}}},
	}, func(ctx context.Context, in *actionInput) (*answer[Contract], error) {
		if in.Authorization == "" {
			return nil, s.fail(ctx, Errorf(CodeTokenMissing, "Leading a contract takes a token of role admin, or a signed instruction."))
		}
		who, err := s.principal(ctx, in.Authorization, RoleAdmin)
		if err != nil {
			return nil, s.fail(ctx, err)
		}
		c, err := d.Act(ctx, who.Name, in.Number, in.Body)
		return told(ctx, s, c, err)
	})
}

// signed registers a write whose body is an envelope of one type.
func signed[T any](s *Server, api huma.API, id, path, summary, description, payloadType string, do func(context.Context, []byte) (T, error)) {
	huma.Register(api, huma.Operation{
		OperationID: id, Method: http.MethodPost, Path: "/api/v1" + path, Summary: summary, Description: description, Tags: []string{tagContract},
		MaxBodyBytes: maxEnvelope,
		Middlewares:  huma.Middlewares{s.door},
	}, func(ctx context.Context, in *envelopeInput) (*answer[T], error) {
		if in.Body.PayloadType != payloadType {
			return nil, s.fail(ctx, Errorf(CodeMalformed, "This takes payload type %s, not %q.", payloadType, in.Body.PayloadType))
		}
		done, err := s.write(ctx)
		if err != nil {
			return nil, err
		}
		defer done()
		body, err := do(ctx, in.RawBody)
		return told(ctx, s, body, err)
	})
}

func told[T any](ctx context.Context, s *Server, body T, err error) (*answer[T], error) {
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	fillSlices(reflect.ValueOf(&body).Elem())
	return &answer[T]{CacheControl: "no-store", Body: body}, nil
}
