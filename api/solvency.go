package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"robotorq.org/reserve/torq"
)

// CodeNoStatement says that no statement of solvency was made, or logged, yet.
const CodeNoStatement Code = "no_statement"

// Solvency is the newest logged statement of what the reserve owes.
type Solvency struct {
	Posting  uint64          `json:"posting" doc:"It is of the books at this posting"`
	Root     string          `json:"root" doc:"Merkle-sum root over all wallets"`
	Sum      torq.JT         `json:"sum_jt" doc:"What all wallets are owed: held, saved and under notice"`
	Wallets  uint64          `json:"wallets"`
	Issued   int64           `json:"issued_ms"`
	Digest   string          `json:"digest"`
	Entry    uint64          `json:"log_entry"`
	Envelope json.RawMessage `json:"envelope" doc:"DSSE, signed by the vault"`
	Log      LogProof        `json:"log"`
}

// Head is the newest logged head of the postings.
type Head struct {
	Posting  uint64          `json:"posting"`
	Hash     string          `json:"posting_hash"`
	Issued   int64           `json:"issued_ms"`
	Entry    uint64          `json:"log_entry"`
	Envelope json.RawMessage `json:"envelope" doc:"DSSE, signed by the vault"`
	Log      LogProof        `json:"log"`
}

// LogProof shows offline that an artefact is in the log.
type LogProof struct {
	Origin     string `json:"origin"`
	Checkpoint string `json:"checkpoint"`
	Proof      string `json:"proof" doc:"C2SP tlog-proof"`
}

// PostedOrder is the posting of a member's own order.
type PostedOrder struct {
	Posting uint64 `json:"posting"`
	Hash    string `json:"posting_hash"`
	Body    []byte `json:"body" doc:"The posting as it is hashed: canonical CBOR"`
}

// Solvent is what members check their reserve by. Errors are [*Error].
type Solvent interface {
	// Solvency is the newest logged statement.
	Solvency(ctx context.Context) (Solvency, error)
	// SolvencyFile shows a member that its balance is counted in it, as a JSON
	// document. The caller has been authorised.
	SolvencyFile(ctx context.Context, account string) ([]byte, error)
	// Head is the newest logged head of the postings.
	Head(ctx context.Context) (Head, error)
	// PostedOrder is the posting of an account's order. The caller has been authorised.
	PostedOrder(ctx context.Context, account, order string) (PostedOrder, error)
}

type postedInput struct {
	Authorization string `header:"Authorization" maxLength:"1024" doc:"Bearer token of role portal or admin"`
	Account       string `path:"account" pattern:"^(member|org):[a-z0-9][a-z0-9-]{0,62}$" doc:"member:<id> or org:<id>"`
	Order         string `path:"order" pattern:"^[0-9a-f]{32}$" doc:"Id of an order"`
	request       *http.Request
}

// Resolve implements huma.Resolver.
func (in *postedInput) Resolve(ctx huma.Context) []error {
	in.request, _ = humago.Unwrap(ctx)
	return nil
}

func (s *Server) solvency(api huma.API, solvent Solvent) {
	get(s, api, "get-solvency", "/solvency", tagReserve, "The newest statement of what the reserve owes",
		func(ctx context.Context, _ *nothing) (Solvency, error) { return solvent.Solvency(ctx) })
	get(s, api, "get-head", "/head", tagReserve, "The newest logged head of the postings",
		func(ctx context.Context, _ *nothing) (Head, error) { return solvent.Head(ctx) })
	file := download("download-solvency", "/wallets/{account}/solvency", "What shows the owner of a wallet that its balance is counted, as `robotorq wallet check-solvency` takes it")
	file.Tags, file.Security = []string{tagWallet}, readSecurity
	huma.Register(api, file, func(ctx context.Context, in *walletInput) (*huma.StreamResponse, error) {
		if err := s.mayRead(ctx, in.Authorization, in.Account, in.request); err != nil {
			return nil, s.fail(ctx, err)
		}
		document, err := solvent.SolvencyFile(ctx, in.Account)
		if err != nil {
			return nil, s.fail(ctx, err)
		}
		return s.stream(io.NopCloser(bytes.NewReader(document)), "solvency-"+strings.ReplaceAll(in.Account, ":", "-")+".json"), nil
	})
	huma.Register(api, huma.Operation{
		OperationID: "get-posted-order", Method: "GET", Path: "/api/v1/wallets/{account}/orders/{order}", Tags: []string{tagWallet},
		Summary: "The posting of an own order, as it is hashed", Security: readSecurity,
	}, func(ctx context.Context, in *postedInput) (*answer[PostedOrder], error) {
		if err := s.mayRead(ctx, in.Authorization, in.Account, in.request); err != nil {
			return nil, s.fail(ctx, err)
		}
		posted, err := solvent.PostedOrder(ctx, in.Account, in.Order)
		if err != nil {
			return nil, s.fail(ctx, err)
		}
		return &answer[PostedOrder]{CacheControl: "no-store", Body: posted}, nil
	})
}
