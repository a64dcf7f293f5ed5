// Package client speaks to a reserve node over HTTP (specification:
// interface.md, "HTTP"). The command line's wallet and members commands are
// built on it, and so can be anybody's.
//
// It trusts nothing but the transport: receipts and enrolments come back as
// signed envelopes, which the caller verifies. Errors that the node answers
// with are [*Error] and carry its stable code. It keeps no state.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"robotorq.org/reserve/api"
)

// maxAnswer bounds what is read of an answer, exports left out.
const maxAnswer = 16 << 20

// Error is a problem document that the node answered with.
type Error struct {
	Status int
	Code   api.Code
	Detail string
	Errors []string // single faults, when a request had more than one
}

// Error implements error.
func (e *Error) Error() string {
	if len(e.Errors) > 0 {
		return fmt.Sprintf("%s: %s (%s)", e.Code, e.Detail, strings.Join(e.Errors, "; "))
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Detail)
}

// ErrorCode returns the stable code.
func (e *Error) ErrorCode() string { return string(e.Code) }

// Is reports whether err is an answer of the node with that code.
func Is(err error, code api.Code) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

// Key signs requests that only the owner of a wallet may make.
type Key struct {
	ID   string                       // keyid of the owner's Ed25519 key
	Sign func([]byte) ([]byte, error) // raw Ed25519 signature
}

// Client speaks to one node. It may be used concurrently.
type Client struct {
	base  *url.URL
	http  *http.Client
	clock api.Clock
	token string
	key   *Key
}

// Option changes a client while it is made.
type Option func(*Client)

// WithToken sends a bearer token.
func WithToken(token string) Option { return func(c *Client) { c.token = token } }

// WithKey signs what only the owner of a wallet may ask.
func WithKey(key Key) Option { return func(c *Client) { c.key = &key } }

// New makes a client of the node at base, for example http://127.0.0.1:8080.
// transport may be nil for one that gives up on a node which does not begin to
// answer within a minute; the clock dates signatures.
func New(base string, transport *http.Client, clock api.Clock, options ...Option) (*Client, error) {
	u, err := url.Parse(strings.TrimSuffix(base, "/"))
	if err != nil {
		return nil, fmt.Errorf("address of the node: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("address of the node: %q is not of the form http://HOST:PORT", base)
	}
	if clock == nil {
		return nil, errors.New("client: a clock is required")
	}
	if transport == nil {
		patient := http.DefaultTransport.(*http.Transport).Clone()
		patient.ResponseHeaderTimeout = time.Minute
		transport = &http.Client{Transport: patient}
	}
	c := &Client{base: u, http: transport, clock: clock}
	for _, option := range options {
		option(c)
	}
	return c, nil
}

// Order sends a signed order (DSSE JSON). id is its order id in hexadecimal;
// sending the same order again is safe and returns the first receipt.
func (c *Client) Order(ctx context.Context, envelope []byte, id string) (api.Receipt, error) {
	return post[api.Receipt](ctx, c, "/orders", envelope, http.Header{"Idempotency-Key": {id}})
}

// Enrol sends an enrolment that a registrar has signed (DSSE JSON).
func (c *Client) Enrol(ctx context.Context, envelope []byte) (api.Enrolled, error) {
	return post[api.Enrolled](ctx, c, "/enrolments", envelope, nil)
}

// Admit has the node's own registrar key enrol somebody; it takes a token of
// role registrar.
func (c *Client) Admit(ctx context.Context, request api.Admission) (api.Enrolled, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return api.Enrolled{}, fmt.Errorf("admission: %w", err)
	}
	return post[api.Enrolled](ctx, c, "/admissions", body, nil)
}

// Balance is what an account (`member:<id>` or `org:<id>`) holds.
func (c *Client) Balance(ctx context.Context, account string) (api.Balance, error) {
	return get[api.Balance](ctx, c, "/wallets/"+url.PathEscape(account), nil)
}

// Statement is one page of an account's movements, newest first.
func (c *Client) Statement(ctx context.Context, account string, page api.Page) (api.List[api.StatementLine], error) {
	return get[api.List[api.StatementLine]](ctx, c, "/wallets/"+url.PathEscape(account)+"/statement", pageQuery(page))
}

// StatementCSV writes all of an account's movements as CSV.
func (c *Client) StatementCSV(ctx context.Context, account string, w io.Writer) error {
	return c.copy(ctx, "/wallets/"+url.PathEscape(account)+"/statement.csv", w)
}

// Overview is the whole way at this moment.
func (c *Client) Overview(ctx context.Context) (api.Overview, error) {
	return get[api.Overview](ctx, c, "/overview", nil)
}

// Charter says who may sign.
func (c *Client) Charter(ctx context.Context) (api.Charter, error) {
	return get[api.Charter](ctx, c, "/charter", nil)
}

// Policy is the numbers of the reserve.
func (c *Client) Policy(ctx context.Context) (api.Policy, error) {
	return get[api.Policy](ctx, c, "/policy", nil)
}

// Reserve is supply, where it lies, and the numbers of the ledger.
func (c *Client) Reserve(ctx context.Context) (api.Reserve, error) {
	return get[api.Reserve](ctx, c, "/reserve", nil)
}

// Certificates is one page of the certificates, newest first.
func (c *Client) Certificates(ctx context.Context, page api.Page) (api.List[api.CertificateSummary], error) {
	return get[api.List[api.CertificateSummary]](ctx, c, "/certificates", pageQuery(page))
}

// Certificate is one certificate.
func (c *Client) Certificate(ctx context.Context, serial uint64) (api.Certificate, error) {
	return get[api.Certificate](ctx, c, fmt.Sprintf("/certificates/%d", serial), nil)
}

// Contract is one contract.
func (c *Client) Contract(ctx context.Context, number uint64) (api.Contract, error) {
	return get[api.Contract](ctx, c, fmt.Sprintf("/contracts/%d", number), nil)
}

// Robot is one robot.
func (c *Client) Robot(ctx context.Context, id string) (api.Robot, error) {
	return get[api.Robot](ctx, c, "/robots/"+url.PathEscape(id), nil)
}

// Export writes all that backs a certificate, as `robotorq verify` takes it.
func (c *Client) Export(ctx context.Context, serial uint64, w io.Writer) error {
	return c.copy(ctx, fmt.Sprintf("/certificates/%d/export", serial), w)
}

// OreProof writes the offline proof of one unit of ore.
func (c *Client) OreProof(ctx context.Context, serial, index uint64, w io.Writer) error {
	return c.copy(ctx, fmt.Sprintf("/certificates/%d/ore/%d/proof", serial, index), w)
}

func pageQuery(page api.Page) url.Values {
	query := url.Values{}
	if page.Cursor != "" {
		query.Set("cursor", page.Cursor)
	}
	if page.Limit > 0 {
		query.Set("limit", strconv.Itoa(page.Limit))
	}
	return query
}

func get[T any](ctx context.Context, c *Client, path string, query url.Values) (T, error) {
	return decode[T](c.do(ctx, http.MethodGet, path, query, nil, nil))
}

func post[T any](ctx context.Context, c *Client, path string, body []byte, header http.Header) (T, error) {
	return decode[T](c.do(ctx, http.MethodPost, path, nil, body, header))
}

// do sends a request; the caller closes the body of the answer. Answers other
// than 200 are turned into an error.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, body []byte, header http.Header) (*http.Response, error) {
	target := c.base.String() + "/api/v1" + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	request.Header.Set("Accept", "application/json, "+api.ProblemType+", text/csv")
	for name, values := range header {
		request.Header[name] = values
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if err := c.authorise(request, path); err != nil {
		return nil, err
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("the node at %s does not answer: %w", c.base.Host, err)
	}
	if answer.StatusCode != http.StatusOK {
		defer answer.Body.Close()
		return nil, problem(answer)
	}
	return answer, nil
}

// authorise adds what a request needs: the key for a wallet, else the token.
func (c *Client) authorise(request *http.Request, path string) error {
	if c.key != nil && strings.HasPrefix(path, "/wallets/") {
		return api.SignRequest(request, c.key.ID, c.clock.Now(), c.key.Sign)
	}
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	return nil
}

func problem(answer *http.Response) error {
	var p api.Problem
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil || !strings.HasPrefix(answer.Header.Get("Content-Type"), api.ProblemType) || json.Unmarshal(text, &p) != nil || p.Code == "" {
		return &Error{Status: answer.StatusCode, Code: api.CodeInternal, Detail: "the answer is not from a reserve node (" + answer.Status + ")"}
	}
	return &Error{Status: answer.StatusCode, Code: p.Code, Detail: p.Detail, Errors: p.Errors}
}

func decode[T any](answer *http.Response, err error) (T, error) {
	var value T
	if err != nil {
		return value, err
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxAnswer)).Decode(&value); err != nil {
		return value, fmt.Errorf("the node's answer cannot be read: %w", err)
	}
	return value, nil
}

func (c *Client) copy(ctx context.Context, path string, w io.Writer) error {
	answer, err := c.do(ctx, http.MethodGet, path, nil, nil, nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(w, answer.Body); err != nil {
		return fmt.Errorf("the download broke off: %w", err)
	}
	return nil
}
