// Package client speaks to a marketplace: as a robot that signs its calls, as a
// client's portal, or as the operator.
//
//	robot, err := client.NewRobot("https://market.example", meshToken, "rover-7", client.Ed25519(key))
//	_, err = robot.Register(ctx, client.Registration{PayoutAddress: "bc1q…", Capabilities: []string{"camera"}, RobotKind: "rover"})
//	tasks, err := robot.Available(ctx)
//	task, err := robot.Claim(ctx, tasks[0].TaskID)
//	task, err = robot.Prove(ctx, task.TaskID, map[string]any{"photo": "sha256:…"})
//	earned, err := robot.Earnings(ctx)
//
// It trusts the marketplace for nothing but its answers, and holds nothing that
// has to survive a crash: what was claimed is asked for again with Task.
package client

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/signature"
	"robotorq.org/reserve/market/wire"
)

// Error is a refusal by the marketplace: an RFC 9457 problem document.
type Error struct {
	Status int      `json:"status"`
	Code   string   `json:"code"`
	Detail string   `json:"detail"`
	Errors []string `json:"errors"`
}

// Error implements error.
func (e *Error) Error() string {
	text := fmt.Sprintf("%d %s: %s", e.Status, e.Code, e.Detail)
	if len(e.Errors) > 0 {
		text += " (" + strings.Join(e.Errors, "; ") + ")"
	}
	return text
}

// ErrorCode returns the stable code.
func (e *Error) ErrorCode() string { return e.Code }

// CodeOf is the code of a refusal, "" when err is none.
func CodeOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// Option changes how a client speaks.
type Option func(*caller)

// HTTP uses another HTTP client than one with a time limit of a minute.
func HTTP(h *http.Client) Option { return func(c *caller) { c.http = h } }

// Clock uses another clock than the machine's, for signatures.
func Clock(now func() time.Time) Option { return func(c *caller) { c.now = now } }

// caller sends requests with a token.
type caller struct {
	base  string
	token string
	http  *http.Client
	now   func() time.Time
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 16 << 20

func newCaller(address, token string, options []Option) (caller, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return caller{}, fmt.Errorf("client: %q is not the address of a marketplace: write https://host", address)
	}
	if token == "" {
		return caller{}, errors.New("client: a token is required")
	}
	c := caller{base: strings.TrimSuffix(address, "/"), token: token, http: &http.Client{Timeout: time.Minute}, now: time.Now}
	for _, o := range options {
		o(&c)
	}
	return c, nil
}

// call sends one request and reads its answer. sign may be nil.
func (c caller) call(ctx context.Context, method, path, key string, in, out any, sign func(*http.Request, []byte) error) error {
	var body []byte
	var err error
	if in != nil {
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("client: %w", err)
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	if sign != nil {
		if err := sign(r, body); err != nil {
			return err
		}
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		refused := &Error{Status: answer.StatusCode}
		if json.Unmarshal(text, refused) != nil || refused.Code == "" {
			refused.Code, refused.Detail = "unreadable_answer", strings.TrimSpace(string(text[:min(len(text), 200)]))
		}
		return refused
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("client: the answer cannot be read: %w", err)
	}
	return nil
}

// Registration is what a robot says about itself.
type Registration struct {
	PayoutAddress string
	Capabilities  []string
	RobotKind     string
}

// Robot is a robot's side. Its methods may be called from any goroutine.
type Robot struct {
	caller
	id  string
	key Key
}

// Key is a robot's Ed25519 key, wherever it is kept.
type Key struct {
	Public []byte
	Sign   func(message []byte) ([]byte, error)
}

// Ed25519 is a key in memory.
func Ed25519(key ed25519.PrivateKey) Key {
	return Key{Public: key.Public().(ed25519.PublicKey), Sign: func(m []byte) ([]byte, error) { return ed25519.Sign(key, m), nil }}
}

// NewRobot makes a robot's side of a marketplace at an address.
func NewRobot(address, meshToken, agentID string, key Key, options ...Option) (*Robot, error) {
	c, err := newCaller(address, meshToken, options)
	if err != nil {
		return nil, err
	}
	if !market.ValidID(agentID) || len(key.Public) != ed25519.PublicKeySize || key.Sign == nil {
		return nil, errors.New("client: a robot needs an id of A-Z a-z 0-9 . _ : @ - and an Ed25519 key")
	}
	return &Robot{caller: c, id: agentID, key: key}, nil
}

func (r *Robot) sign(q *http.Request, body []byte) error {
	now := r.now().Unix()
	return signature.Sign(q, body, r.id, r.key.Sign, now, now+signature.MaxLifetime, signature.NewNonce())
}

// Register enters the robot, or changes what is known of it. A new payout address counts after
// a day.
func (r *Robot) Register(ctx context.Context, about Registration) (market.Agent, error) {
	var out wire.AgentAnswer
	err := r.call(ctx, "POST", "/robot/agents/register", "", market.Registration{AgentID: r.id, PayoutAddress: about.PayoutAddress,
		Capabilities: about.Capabilities, RobotKind: about.RobotKind, PublicKey: r.key.Public}, &out, r.sign)
	return out.Agent, err
}

// Heartbeat says that the robot is there; capabilities, if any are given, replace the known ones.
func (r *Robot) Heartbeat(ctx context.Context, capabilities ...string) (market.Agent, error) {
	var out wire.AgentAnswer
	err := r.call(ctx, "POST", "/robot/agents/heartbeat", "", wire.HeartbeatBody{AgentID: r.id, Capabilities: capabilities}, &out, nil)
	return out.Agent, err
}

// Available lists tasks that the robot could claim now.
func (r *Robot) Available(ctx context.Context) ([]market.Task, error) {
	var out wire.TasksAnswer
	err := r.call(ctx, "GET", "/robot/tasks/available?agentId="+url.QueryEscape(r.id), "", nil, &out, nil)
	return out.Tasks, err
}

// Claim takes a task. The error has the code task_not_claimable when another robot was first.
func (r *Robot) Claim(ctx context.Context, taskID string) (market.Task, error) {
	var out wire.TaskAnswer
	err := r.call(ctx, "POST", "/robot/tasks/"+url.PathEscape(taskID)+"/claim", "", wire.ClaimBody{AgentID: r.id}, &out, r.sign)
	return out.Task.Task, err
}

// Prove hands in the proof of a task that this robot claimed. The payload becomes JSON.
func (r *Robot) Prove(ctx context.Context, taskID string, payload any) (market.Task, error) {
	raw, err := json.Marshal(payload)
	if err != nil {
		return market.Task{}, fmt.Errorf("client: %w", err)
	}
	var out wire.TaskAnswer
	err = r.call(ctx, "POST", "/robot/tasks/"+url.PathEscape(taskID)+"/proof", "", wire.ProofBody{AgentID: r.id, Payload: raw}, &out, r.sign)
	return out.Task.Task, err
}

// Task shows a task.
func (r *Robot) Task(ctx context.Context, taskID string) (market.Task, error) {
	t, err := r.task(ctx, taskID)
	return t.Task, err
}

func (c caller) task(ctx context.Context, taskID string) (wire.TaskView, error) {
	var out wire.TaskAnswer
	err := c.call(ctx, "GET", "/robot/tasks/"+url.PathEscape(taskID), "", nil, &out, nil)
	return out.Task, err
}

// Earnings shows what the robot earned.
func (r *Robot) Earnings(ctx context.Context) (wire.Earnings, error) {
	var out wire.EarningsAnswer
	err := r.call(ctx, "GET", "/robot/agents/"+url.PathEscape(r.id)+"/earnings", "", nil, &out, nil)
	return out.Earnings, err
}

// Portal is the side of a client, or of many behind one portal.
type Portal struct {
	caller
	account string
}

// NewPortal makes a portal's side, for one client account.
func NewPortal(address, portalToken, account string, options ...Option) (*Portal, error) {
	c, err := newCaller(address, portalToken, options)
	return &Portal{c, account}, err
}

// Create asks for a task. key makes the request safe to repeat; it may be empty.
func (p *Portal) Create(ctx context.Context, t wire.CreateBody, key string) (wire.Created, error) {
	t.ClientAccountID = p.account
	var out wire.CreatedAnswer
	err := p.call(ctx, "POST", "/robot/tasks", key, t, &out, nil)
	return out.Created, err
}

// Task shows a task with its proof.
func (p *Portal) Task(ctx context.Context, taskID string) (wire.TaskView, error) {
	return p.task(ctx, taskID)
}

// Tasks lists the account's newest tasks.
func (p *Portal) Tasks(ctx context.Context, cursor string) (wire.TasksAnswer, error) {
	var out wire.TasksAnswer
	err := p.call(ctx, "GET", "/robot/tasks?clientAccountId="+url.QueryEscape(p.account)+"&cursor="+url.QueryEscape(cursor), "", nil, &out, nil)
	return out, err
}

// Settle accepts a proof.
func (p *Portal) Settle(ctx context.Context, taskID string) (market.Task, error) {
	return p.act(ctx, taskID, "settle", wire.ClientBody{ClientAccountID: p.account})
}

// Cancel takes back a task that no robot has claimed.
func (p *Portal) Cancel(ctx context.Context, taskID string) (market.Task, error) {
	return p.act(ctx, taskID, "cancel", wire.ClientBody{ClientAccountID: p.account})
}

// Dispute disputes a proof.
func (p *Portal) Dispute(ctx context.Context, taskID, reason string) (market.Task, error) {
	return p.act(ctx, taskID, "dispute", wire.DisputeBody{ClientAccountID: p.account, Reason: reason})
}

func (c caller) act(ctx context.Context, taskID, what string, body any) (market.Task, error) {
	var out wire.TaskAnswer
	err := c.call(ctx, "POST", "/robot/tasks/"+url.PathEscape(taskID)+"/"+what, "", body, &out, nil)
	return out.Task.Task, err
}

// Account shows the account.
func (p *Portal) Account(ctx context.Context) (wire.Account, error) {
	var out wire.AccountAnswer
	err := p.call(ctx, "GET", "/robot/accounts/"+url.PathEscape(p.account), "", nil, &out, nil)
	return out.Account, err
}

// Withdraw pays from the account, to a BOLT 11 invoice or to an address.
func (p *Portal) Withdraw(ctx context.Context, to wire.WithdrawBody, key string) (market.Withdrawal, error) {
	var out wire.WithdrawalAnswer
	err := p.call(ctx, "POST", "/robot/accounts/"+url.PathEscape(p.account)+"/withdraw", key, to, &out, nil)
	return out.Withdrawal, err
}

// Operator is the operator's side.
type Operator struct{ caller }

// NewOperator makes the operator's side.
func NewOperator(address, adminToken string, options ...Option) (*Operator, error) {
	c, err := newCaller(address, adminToken, options)
	return &Operator{c}, err
}

// Resolve decides a dispute.
func (o *Operator) Resolve(ctx context.Context, taskID string, decision wire.ResolveBody) (market.Task, error) {
	return o.act(ctx, taskID, "resolve", decision)
}

// Sweep pays everybody who is owed enough. know names transactions of the payout wallet that are
// none of the coordinator's, when it has stopped paying because of them.
func (o *Operator) Sweep(ctx context.Context, key string, know ...string) (wire.SweepReport, error) {
	var out wire.SweepAnswer
	err := o.call(ctx, "POST", "/robot/sweep", key, wire.SweepBody{Know: know}, &out, nil)
	return out.SweepReport, err
}

// Sweeps lists the newest payouts.
func (o *Operator) Sweeps(ctx context.Context, cursor string) (wire.SweepsAnswer, error) {
	var out wire.SweepsAnswer
	err := o.call(ctx, "GET", "/robot/sweeps?cursor="+url.QueryEscape(cursor), "", nil, &out, nil)
	return out, err
}

// Treasury shows the pots.
func (o *Operator) Treasury(ctx context.Context) (wire.Treasury, error) {
	var out wire.TreasuryAnswer
	err := o.call(ctx, "GET", "/robot/treasury", "", nil, &out, nil)
	return out.Treasury, err
}

// Admit lets a robot take part, or no longer.
func (o *Operator) Admit(ctx context.Context, agentID string, admitted bool) (market.Agent, error) {
	var out wire.AgentAnswer
	err := o.call(ctx, "POST", "/robot/agents/"+url.PathEscape(agentID)+"/admit", "", wire.AdmitBody{Admitted: admitted}, &out, nil)
	return out.Agent, err
}
