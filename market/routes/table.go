package routes

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/books"
	"robotorq.org/reserve/market/coordinator"
	"robotorq.org/reserve/market/wire"
)

// route is one line of the table.
type route struct {
	method, path string
	roles        []api.Role
	signed       bool  // by the robot
	most         int64 // bytes of the body; 0: maxBody
	summary      string
	query        []string // parameters
	in, out      any      // zero values of the body and of the answer
	do           func(*call) (any, error)
}

var (
	mesh   = []api.Role{api.RoleMesh}
	portal = []api.Role{api.RolePortal}
	admin  = []api.Role{api.RoleAdmin}
	status = []api.Role{api.RoleMesh, api.RolePortal}
)

var table = []route{
	{"POST", "/robot/agents/register", mesh, true, 0, "Register a robot with its payout address and capabilities, or change them", nil, market.Registration{}, wire.AgentAnswer{}, register},
	{"POST", "/robot/agents/heartbeat", mesh, false, 0, "Say that a robot is there", nil, wire.HeartbeatBody{}, wire.AgentAnswer{}, heartbeat},
	{"GET", "/robot/agents/{agentId}/earnings", mesh, false, 0, "What a robot earned", []string{"limit"}, nil, wire.EarningsAnswer{}, earnings},
	{"POST", "/robot/tasks", portal, false, 0, "Create a task; answers with the invoice that funds it", nil, wire.CreateBody{}, wire.CreatedAnswer{}, create},
	{"GET", "/robot/tasks", portal, false, 0, "Tasks, the newest first", []string{"clientAccountId", "status", "agentId", "cursor", "limit"}, nil, wire.TasksAnswer{}, tasks},
	{"GET", "/robot/tasks/available", mesh, false, 0, "What a robot could claim now", []string{"agentId", "limit"}, nil, wire.TasksAnswer{}, available},
	{"GET", "/robot/tasks/{taskId}", status, false, 0, "A task", nil, nil, wire.TaskAnswer{}, show},
	{"POST", "/robot/tasks/{taskId}/claim", mesh, true, 0, "Claim a task; the first valid claim wins", nil, wire.ClaimBody{}, wire.TaskAnswer{}, claim},
	{"POST", "/robot/tasks/{taskId}/proof", mesh, true, maxProof, "Hand in a proof", nil, wire.ProofBody{}, wire.TaskAnswer{}, prove},
	{"POST", "/robot/tasks/{taskId}/settle", portal, false, 0, "Accept a proof", nil, wire.ClientBody{}, wire.TaskAnswer{}, settle},
	{"POST", "/robot/tasks/{taskId}/dispute", portal, false, 0, "Dispute a proof", nil, wire.DisputeBody{}, wire.TaskAnswer{}, dispute},
	{"POST", "/robot/tasks/{taskId}/cancel", portal, false, 0, "Cancel a task that no robot has claimed", nil, wire.ClientBody{}, wire.TaskAnswer{}, cancel},
	{"POST", "/robot/tasks/{taskId}/resolve", admin, false, 0, "Decide a dispute", nil, wire.ResolveBody{}, wire.TaskAnswer{}, resolve},
	{"GET", "/robot/accounts/{id}", portal, false, 0, "A client's account", nil, nil, wire.AccountAnswer{}, account},
	{"POST", "/robot/accounts/{id}/withdraw", portal, false, 0, "Withdraw to a BOLT 11 invoice, or to an address with the next sweep", nil, wire.WithdrawBody{}, wire.WithdrawalAnswer{}, withdraw},
	{"POST", "/robot/sweep", admin, false, 0, "Pay everybody who is owed enough, now", nil, wire.SweepBody{}, wire.SweepAnswer{}, sweep},
	{"GET", "/robot/sweeps", admin, false, 0, "Payout transactions, the newest first", []string{"cursor", "limit"}, nil, wire.SweepsAnswer{}, sweeps},
	{"GET", "/robot/treasury", admin, false, 0, "The two pots and what is owed from them", nil, nil, wire.TreasuryAnswer{}, treasury},
	{"POST", "/robot/agents/{agentId}/admit", admin, false, 0, "Let a robot take part, where the operator asks for admission", nil, wire.AdmitBody{}, wire.AgentAnswer{}, admit},
}

func register(c *call) (any, error) {
	var body market.Registration
	if err := decode(c.body, &body); err != nil {
		return nil, err
	}
	a, err := c.desk.Register(c.http.Context(), c.sign, body)
	return wire.AgentAnswer{OK: true, Agent: a}, err
}

func heartbeat(c *call) (any, error) {
	var body wire.HeartbeatBody
	if err := decode(c.body, &body); err != nil {
		return nil, err
	}
	a, err := c.desk.Heartbeat(c.http.Context(), body.AgentID, body.Capabilities)
	return wire.AgentAnswer{OK: true, Agent: a}, err
}

func earnings(c *call) (any, error) {
	limit, err := limitOf(c, 1000, 1000)
	if err != nil {
		return nil, err
	}
	e, err := c.desk.Earnings(c.http.Context(), c.http.PathValue("agentId"), limit)
	if e.Earnings == nil {
		e.Earnings = []market.Entry{}
	}
	return wire.EarningsAnswer{OK: true, Earnings: e}, err
}

func create(c *call) (any, error) {
	var body wire.CreateBody
	if err := decode(c.body, &body); err != nil {
		return nil, err
	}
	if body.ResourceRequirements == nil {
		body.ResourceRequirements = []string{}
	}
	made, err := c.desk.Create(c.http.Context(), market.Task{
		ClientAccountID: body.ClientAccountID, Title: body.Title, Description: body.Description, TaskKind: body.TaskKind,
		ResourceRequirements: body.ResourceRequirements, EscrowSats: body.AmountSats, TimeoutMs: body.TimeoutMs, ProofSchema: body.ProofSchema,
		EscrowMode: market.EscrowMode(body.EscrowMode), Relist: body.Relist, WebhookURL: body.WebhookURL,
	}, c.once)
	return wire.CreatedAnswer{OK: true, Created: made}, err
}

func tasks(c *call) (any, error) {
	limit, err := limitOf(c, 50, 200)
	if err != nil {
		return nil, err
	}
	q := c.http.URL.Query()
	f := books.Filter{Client: q.Get("clientAccountId"), Status: market.Status(q.Get("status")), Agent: q.Get("agentId"), Limit: limit}
	if f.BeforeMs, f.BeforeID, err = cursor(q.Get("cursor")); err != nil {
		return nil, err
	}
	list, err := c.desk.Tasks(c.http.Context(), f)
	if err != nil {
		return nil, err
	}
	answer := wire.TasksAnswer{OK: true, Tasks: append([]market.Task{}, list...)}
	if len(list) == limit {
		answer.Next = cursorAt(list[limit-1].CreatedAtMs, list[limit-1].TaskID)
	}
	return answer, nil
}

func available(c *call) (any, error) {
	limit, err := limitOf(c, 50, 200)
	if err != nil {
		return nil, err
	}
	list, err := c.desk.Available(c.http.Context(), c.http.URL.Query().Get("agentId"), limit)
	for i := range list {
		list[i].WebhookURL = ""
	}
	return wire.TasksAnswer{OK: true, Tasks: append([]market.Task{}, list...)}, err
}

// show shows the proof to the portal, and to robots only its digest.
func show(c *call) (any, error) {
	t, err := c.desk.Task(c.http.Context(), c.http.PathValue("taskId"))
	if err != nil {
		return nil, err
	}
	return c.shown(t)
}

func (c *call) shown(t market.Task) (any, error) {
	answer := wire.TaskAnswer{OK: true, Task: wire.TaskView{Task: t}}
	if c.role == api.RoleMesh {
		answer.Task.WebhookURL = ""
		return answer, nil
	}
	if t.ProofSHA256 == "" {
		return answer, nil
	}
	payload, err := c.desk.Proof(c.http.Context(), t.TaskID)
	answer.Task.ProofPayload = payload
	return answer, err
}

// stranger is the refusal of a robot that is not registered, in the order of the other checks.
func (c *call) stranger(agent string) bool { return c.sign == coordinator.Signed{} && agent != "" }

func claim(c *call) (any, error) {
	var body wire.ClaimBody
	if err := decode(c.body, &body); err != nil {
		return nil, err
	}
	if c.stranger(body.AgentID) {
		return nil, c.desk.Stranger(c.http.Context(), c.http.PathValue("taskId"), body.AgentID, market.Funded)
	}
	t, err := c.desk.Claim(c.http.Context(), c.http.PathValue("taskId"), c.sign)
	if err != nil {
		return nil, err
	}
	return c.shown(t)
}

func prove(c *call) (any, error) {
	var body wire.ProofBody
	if err := decode(c.body, &body); err != nil {
		return nil, err
	}
	if len(body.Payload) == 0 {
		return nil, &market.Error{Code: market.CodeInvalid, Detail: "A proof needs a payload.", Faults: []string{"payload: is required"}}
	}
	if c.stranger(body.AgentID) {
		return nil, c.desk.Stranger(c.http.Context(), c.http.PathValue("taskId"), body.AgentID, market.Claimed)
	}
	t, err := c.desk.Prove(c.http.Context(), c.http.PathValue("taskId"), c.sign, body.Payload)
	if err != nil {
		return nil, err
	}
	return c.shown(t)
}

func settle(c *call) (any, error) {
	var body wire.ClientBody
	if err := decode(c.body, &body); err != nil {
		return nil, err
	}
	t, err := c.desk.Settle(c.http.Context(), c.http.PathValue("taskId"), body.ClientAccountID, c.once)
	if err != nil {
		return nil, err
	}
	return c.shown(t)
}

func dispute(c *call) (any, error) {
	var body wire.DisputeBody
	if err := decode(c.body, &body); err != nil {
		return nil, err
	}
	t, err := c.desk.Dispute(c.http.Context(), c.http.PathValue("taskId"), body.ClientAccountID, body.Reason)
	if err != nil {
		return nil, err
	}
	return c.shown(t)
}

func cancel(c *call) (any, error) {
	var body wire.ClientBody
	if err := decode(c.body, &body); err != nil {
		return nil, err
	}
	t, err := c.desk.Cancel(c.http.Context(), c.http.PathValue("taskId"), body.ClientAccountID)
	if err != nil {
		return nil, err
	}
	return c.shown(t)
}

func resolve(c *call) (any, error) {
	var body wire.ResolveBody
	if err := decode(c.body, &body); err != nil {
		return nil, err
	}
	t, err := c.desk.Resolve(c.http.Context(), c.http.PathValue("taskId"),
		market.Resolution{Outcome: market.Outcome(body.Outcome), RobotSats: body.RobotSats, Note: body.Note, By: string(c.role)}, c.once)
	if err != nil {
		return nil, err
	}
	return c.shown(t)
}

func account(c *call) (any, error) {
	a, err := c.desk.Account(c.http.Context(), c.http.PathValue("id"))
	if a.Withdrawals == nil {
		a.Withdrawals = []market.Withdrawal{}
	}
	return wire.AccountAnswer{OK: true, Account: a}, err
}

func withdraw(c *call) (any, error) {
	id := c.http.PathValue("id")
	var body wire.WithdrawBody
	if err := decode(c.body, &body); err != nil {
		return nil, err
	}
	var f market.Faults
	switch {
	case body.Bolt11 != "" && (body.Address != "" || body.AmountSats != 0):
		f.Add("bolt11", "stands alone: the invoice names the amount")
	case body.Bolt11 == "" && body.Address == "":
		f.Add("bolt11", "or address with amountSats is required")
	}
	if err := f.Err(market.CodeInvalid); err != nil {
		return nil, err
	}
	var w market.Withdrawal
	var err error
	if body.Bolt11 != "" {
		w, err = c.desk.WithdrawLightning(c.http.Context(), id, body.Bolt11)
	} else {
		w, err = c.desk.WithdrawChain(c.http.Context(), id, body.Address, body.AmountSats, c.once)
	}
	return wire.WithdrawalAnswer{OK: true, Withdrawal: w}, err
}

func sweep(c *call) (any, error) {
	var body wire.SweepBody
	if err := decode(c.body, &body); err != nil {
		return nil, err
	}
	if err := knowable(body.Know); err != nil {
		return nil, err
	}
	r, err := c.desk.SweepOnce(c.http.Context(), body.Know, c.once)
	return wire.SweepAnswer{OK: true, SweepReport: r}, err
}

// knowable accepts ids of transactions.
func knowable(txids []string) error {
	var f market.Faults
	for _, id := range txids {
		if raw, err := hex.DecodeString(id); err != nil || len(raw) != 32 || id != strings.ToLower(id) {
			f.Add("know", "%.80q is no id of a transaction", id)
		}
	}
	return f.Err(market.CodeInvalid)
}

func sweeps(c *call) (any, error) {
	limit, err := limitOf(c, 20, 100)
	if err != nil {
		return nil, err
	}
	before, id, err := cursor(c.http.URL.Query().Get("cursor"))
	if err != nil {
		return nil, err
	}
	list, err := c.desk.Sweeps(c.http.Context(), before, id, limit)
	if err != nil {
		return nil, err
	}
	answer := wire.SweepsAnswer{OK: true, Sweeps: append([]market.Sweep{}, list...)}
	if len(list) == limit {
		answer.Next = cursorAt(list[limit-1].PlannedAtMs, list[limit-1].SweepID)
	}
	return answer, nil
}

func treasury(c *call) (any, error) {
	t, err := c.desk.Treasury(c.http.Context())
	return wire.TreasuryAnswer{OK: true, Treasury: t}, err
}

func admit(c *call) (any, error) {
	var body wire.AdmitBody
	if err := decode(c.body, &body); err != nil {
		return nil, err
	}
	a, err := c.desk.Admit(c.http.Context(), c.http.PathValue("agentId"), body.Admitted)
	return wire.AgentAnswer{OK: true, Agent: a}, err
}

// limitOf reads how many are wanted.
func limitOf(c *call, usual, most int) (int, error) {
	text := c.http.URL.Query().Get("limit")
	if text == "" {
		return usual, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, api.Errorf(api.CodeMalformed, "limit must be from 1 to %d.", most)
	}
	return n, nil
}

// A cursor is the last item of the page before; clients must not look into it.
func cursorAt(ms int64, id string) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d %s", ms, id))
}

func cursor(text string) (ms int64, id string, err error) {
	if text == "" {
		return 0, "", nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	number, id, ok := strings.Cut(string(raw), " ")
	ms, err2 := strconv.ParseInt(number, 10, 64)
	if err != nil || err2 != nil || !ok || !market.ValidID(id) {
		return 0, "", api.Errorf(api.CodeCursorInvalid, "The cursor is not one of ours. Begin with the first page.")
	}
	return ms, id, nil
}

var _ http.Handler = (*Routes)(nil)
