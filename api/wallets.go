package api

import (
	"context"
	"encoding/hex"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/fxamacker/cbor/v2"
)

// OrderType is the payload type of a member's order.
const OrderType = "application/vnd.robotorq.order.v1+cbor"

// EnrolmentType is the payload type of an enrolment.
const EnrolmentType = "application/vnd.robotorq.enrolment.v1+json"

// maxEnvelope bounds the body of an order or enrolment.
const maxEnvelope = 1 << 20

// Envelope is a DSSE v1 envelope in JSON. The API looks at its type and size;
// the stations verify it.
type Envelope struct {
	PayloadType string              `json:"payloadType" maxLength:"255"`
	Payload     []byte              `json:"payload" doc:"Standard padded base64"`
	Signatures  []EnvelopeSignature `json:"signatures" minItems:"1" maxItems:"16" nullable:"false"`
}

// EnvelopeSignature is one signature over the envelope's PAE bytes.
type EnvelopeSignature struct {
	KeyID string `json:"keyid" maxLength:"64"`
	Sig   []byte `json:"sig" doc:"Standard padded base64"`
}

type envelopeInput struct {
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"128" doc:"For an order: its order id, 32 hexadecimal digits. Repeating a write is safe with and without it: what is signed or named the same is done once."`
	RawBody        []byte
	Body           Envelope
}

// walletInput names a wallet and brings what shows that it may be read: a token,
// or a signature in the request, which is kept for the handler to check.
type walletInput struct {
	Authorization string `header:"Authorization" maxLength:"1024" doc:"Bearer token of role portal or admin"`
	Account       string `path:"account" pattern:"^(member|org):[a-z0-9][a-z0-9-]{0,62}$" doc:"member:<id> or org:<id>"`
	request       *http.Request
}

// Resolve implements huma.Resolver.
func (in *walletInput) Resolve(ctx huma.Context) []error {
	in.request, _ = humago.Unwrap(ctx)
	return nil
}

type statementInput struct {
	Authorization string `header:"Authorization" maxLength:"1024" doc:"Bearer token of role portal or admin"`
	Account       string `path:"account" pattern:"^(member|org):[a-z0-9][a-z0-9-]{0,62}$" doc:"member:<id> or org:<id>"`
	Cursor        string `query:"cursor" maxLength:"512" doc:"next of the page before"`
	Limit         int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Items on a page"`
	Of            string `query:"of" enum:"wallet,savings" default:"wallet" doc:"The wallet's movements, or those of its savings"`
	request       *http.Request
}

// Resolve implements huma.Resolver.
func (in *statementInput) Resolve(ctx huma.Context) []error {
	in.request, _ = humago.Unwrap(ctx)
	return nil
}

var readSecurity = []map[string][]string{{schemeSignature: {}}, {schemeToken: {}}}

func (s *Server) wallets(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "post-order", Method: http.MethodPost, Path: "/api/v1/orders", Tags: []string{tagWallet},
		Summary:      "Execute a signed order; answers with the vault's receipt",
		Description:  "The body is a DSSE envelope of type " + OrderType + ". A repeated order id gets the first receipt.",
		MaxBodyBytes: maxEnvelope,
	}, s.postOrder)
	huma.Register(api, huma.Operation{
		OperationID: "get-wallet", Method: http.MethodGet, Path: "/api/v1/wallets/{account}", Tags: []string{tagWallet},
		Summary: "What a wallet holds now", Security: readSecurity,
	}, func(ctx context.Context, in *walletInput) (*answer[Balance], error) {
		if err := s.mayRead(ctx, in.Authorization, in.Account, in.request); err != nil {
			return nil, s.fail(ctx, err)
		}
		balance, err := s.options.Wallets.Balance(ctx, in.Account)
		if err != nil {
			return nil, s.fail(ctx, err)
		}
		fillSlices(reflect.ValueOf(&balance).Elem())
		return &answer[Balance]{CacheControl: "no-store", Body: balance}, nil
	})
	huma.Register(api, huma.Operation{
		OperationID: "get-statement", Method: http.MethodGet, Path: "/api/v1/wallets/{account}/statement", Tags: []string{tagWallet},
		Summary: "The movements of a wallet, newest first", Security: readSecurity,
	}, func(ctx context.Context, in *statementInput) (*answer[List[StatementLine]], error) {
		if err := s.mayRead(ctx, in.Authorization, in.Account, in.request); err != nil {
			return nil, s.fail(ctx, err)
		}
		list, err := s.options.Wallets.Statement(ctx, statementOf(in.Of, in.Account), Page{Cursor: in.Cursor, Limit: in.Limit})
		if err != nil {
			return nil, s.fail(ctx, err)
		}
		fillSlices(reflect.ValueOf(&list).Elem())
		return &answer[List[StatementLine]]{CacheControl: "no-store", Body: list}, nil
	})
	huma.Register(api, huma.Operation{
		OperationID: "get-statement-csv", Method: http.MethodGet, Path: "/api/v1/wallets/{account}/statement.csv", Tags: []string{tagWallet},
		Summary: "The movements of a wallet as CSV, newest first", Security: readSecurity,
		Description: "At most 100,000 lines; where there are more the trailer " + NextCursor + " is the cursor of the rest.",
		Responses:   map[string]*huma.Response{"200": {Description: "CSV (RFC 4180)", Content: map[string]*huma.MediaType{"text/csv": {Schema: &huma.Schema{Type: huma.TypeString}}}}},
	}, s.statementCSV)
}

func (s *Server) postOrder(ctx context.Context, in *envelopeInput) (*answer[Receipt], error) {
	if err := s.checkOrder(in); err != nil {
		return nil, s.fail(ctx, err)
	}
	receipt, err := s.options.Wallets.Order(ctx, in.RawBody)
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	return &answer[Receipt]{CacheControl: "no-store", Body: receipt}, nil
}

// checkOrder looks at what can be seen without keys: the type, and that the
// idempotency key, when there is one, is the order's id.
func (s *Server) checkOrder(in *envelopeInput) error {
	if in.Body.PayloadType != OrderType {
		return Errorf(CodeMalformed, "An order has payload type %s, not %q.", OrderType, in.Body.PayloadType)
	}
	if in.IdempotencyKey == "" {
		return nil
	}
	var fields []cbor.RawMessage
	var id []byte
	const idField = 2
	if cbor.Unmarshal(in.Body.Payload, &fields) != nil || len(fields) <= idField || cbor.Unmarshal(fields[idField], &id) != nil {
		return Errorf(CodeMalformed, "The order's payload cannot be read.")
	}
	if !strings.EqualFold(in.IdempotencyKey, hex.EncodeToString(id)) {
		return Errorf(CodeKeyMismatch, "The Idempotency-Key of an order is its order id, %x.", id)
	}
	return nil
}

// mayRead lets the owner of a wallet read it, and tokens that may read all.
func (s *Server) mayRead(ctx context.Context, authorization, account string, r *http.Request) error {
	if authorization != "" {
		_, err := s.principal(ctx, authorization, RolePortal, RoleAdmin)
		return err
	}
	sig, signed, err := parseSignature(r)
	if err != nil {
		return err
	}
	if !signed {
		return Errorf(CodeTokenMissing, "A wallet is shown to its owner. Sign the request (RFC 9421) or use `robotorq wallet balance`.")
	}
	key, err := s.options.Wallets.Key(ctx, account, sig.keyID)
	if err != nil {
		return err
	}
	return sig.verify(key, s.options.Clock.Now())
}

// principal is who holds the token of an Authorization header, if it has one
// of the roles.
func (s *Server) principal(ctx context.Context, authorization string, roles ...Role) (Principal, error) {
	scheme, token, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return Principal{}, Errorf(CodeTokenInvalid, "The Authorization header must be `Bearer TOKEN`.")
	}
	if s.options.Tokens == nil {
		return Principal{}, Errorf(CodeTokenInvalid, "This node accepts no tokens.")
	}
	who, err := s.options.Tokens.Check(ctx, token)
	if err != nil {
		return Principal{}, err
	}
	for _, role := range roles {
		if who.Role == role {
			return who, nil
		}
	}
	return Principal{}, Errorf(CodeForbidden, "A token of role %s may not do that; it takes %s.", who.Role, roles[0])
}

func csvLine(l StatementLine) []string {
	return []string{
		strconv.FormatUint(l.Posting, 10),
		time.UnixMilli(l.Time).UTC().Format("2006-01-02T15:04:05.000Z"),
		l.Kind,
		strconv.FormatInt(int64(l.JT), 10),
		strconv.FormatInt(int64(l.Balance), 10),
		strings.TrimSuffix(l.JT.RT(), " RT"),
		strings.TrimSuffix(l.Balance.RT(), " RT"),
		l.Other,
		plainCell(l.Memo),
		l.OrderID,
	}
}

// plainCell keeps a memo, which somebody else wrote, from being a formula in a
// spreadsheet.
func plainCell(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return "'" + text
	}
	return text
}
