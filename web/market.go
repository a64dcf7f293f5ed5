package web

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/books"
	"robotorq.org/reserve/market/routes"
)

// marketRoutes mounts the pages of the marketplace. They ask and tell the same desk as the
// routes under /robot, so that no rule is here; who may what is as there: the portal's token
// for what a client does, the admin token for what the operator does, the mesh token for what
// a robot may see. A visitor sees what is offered and how a task went, and never an invoice,
// the content of a proof or the name of a client.
func (s *Site) marketRoutes() {
	if s.options.Market == nil {
		s.mux.HandleFunc("GET /market", s.serve(s.marketOff))
		s.mux.HandleFunc("GET /market/", s.serve(s.marketOff))
		return
	}
	for pattern, page := range map[string]func(*http.Request) (view, error){
		"GET /market":            s.marketBoard,
		"GET /market/tasks/{id}": s.marketTask,
	} {
		s.mux.HandleFunc(pattern, s.serve(s.told(page)))
	}
	for _, of := range []struct {
		pattern string
		role    api.Role
		page    func(*http.Request, session) (view, error)
	}{
		{"GET /market/post", roleMarketPortal, s.marketPostPage},
		{"GET /market/tasks", roleMarketPortal, s.marketTasks},
		{"GET /market/tasks/{id}/fund", roleMarketPortal, s.marketFund},
		{"GET /market/accounts", roleMarketPortal, s.marketAccount},
		{"GET /market/robots", roleMarketMesh, s.marketRobot},
		{"GET /market/treasury", roleMarketAdmin, s.marketTreasury},
		{"GET /market/payouts", roleMarketAdmin, s.marketPayouts},
	} {
		s.mux.HandleFunc(of.pattern, s.only(of.role, func(r *http.Request, x session) (view, error) {
			return s.told(func(r *http.Request) (view, error) { return of.page(r, x) })(r)
		}))
	}
	for pattern, do := range map[string]http.HandlerFunc{
		"POST /market/post":               s.marketPost,
		"POST /market/tasks/{id}/settle":  s.marketDecide(roleMarketPortal, s.marketSettle),
		"POST /market/tasks/{id}/dispute": s.marketDecide(roleMarketPortal, s.marketDispute),
		"POST /market/tasks/{id}/cancel":  s.marketDecide(roleMarketPortal, s.marketCancel),
		"POST /market/tasks/{id}/resolve": s.marketDecide(roleMarketAdmin, s.marketResolve),
		"POST /market/accounts":           s.marketWithdraw,
		"POST /market/payouts":            s.marketSweep,
		"GET /market/tasks/{id}/proof":    s.marketProof,
	} {
		s.mux.HandleFunc(pattern, do)
	}
}

func (s *Site) marketOff(r *http.Request) (view, error) {
	v := view{Template: "market-off", Title: "Marketplace", Section: "market"}
	if r.URL.Path != "/market" {
		v.Status = http.StatusNotFound
	}
	return v, nil
}

// told says refusals of the desk as the routes say them.
func (s *Site) told(page func(*http.Request) (view, error)) func(*http.Request) (view, error) {
	return func(r *http.Request) (view, error) {
		v, err := page(r)
		if err != nil {
			return s.marketRefused(r, err), nil
		}
		return v, nil
	}
}

// marketRefused is the page of an error of the desk.
func (s *Site) marketRefused(r *http.Request, err error) view {
	p := s.problem(r, err)
	title := "This did not work"
	if p.Status == http.StatusNotFound {
		title = notInMarket
	}
	return view{Template: "error", Title: title, Section: "market", Status: p.Status, Data: &api.Error{Code: p.Code, Detail: p.Detail}}
}

const notInMarket = "Not in this marketplace"

// problem is what the reader is told about an error; what is the node's fault is logged.
func (s *Site) problem(r *http.Request, err error) api.Problem {
	p, _ := routes.Problem(err)
	if p.Status >= http.StatusInternalServerError {
		s.options.Log.ErrorContext(r.Context(), "page failed", "path", r.URL.Path, "code", p.Code, "error", err)
	}
	return p
}

// stall is what every page of the marketplace knows.
type stall struct {
	Now       int64
	URL       string // of this site, for commands
	Network   string
	Simulated bool
	FeeBps    int64
	Tab       string

	In                  bool // signed in with a role of the marketplace
	Portal, Admin, Mesh bool
	Form                string // of the session; each form that writes carries it
	Once                string // of this page; what is sent twice is done once
}

func (s *Site) stall(r *http.Request, tab string) stall {
	desk := s.options.Market
	scheme := "http"
	if overTLS(r) {
		scheme = "https"
	}
	m := stall{Now: desk.Now(), URL: scheme + "://" + r.Host, Network: string(desk.Policy().Network), Simulated: desk.Simulated(), FeeBps: desk.Policy().FeeBps, Tab: tab}
	if x, ok := s.session(r); ok {
		m.Form, m.Once = x.Form, secret()
		m.Portal, m.Admin, m.Mesh = x.may(roleMarketPortal), x.may(roleMarketAdmin), x.may(roleMarketMesh)
		m.In = m.Portal || m.Admin || m.Mesh
	}
	return m
}

// Fee is the coordinator's cut in per cent.
func (m stall) Fee() string {
	text := fmt.Sprintf("%d.%02d", m.FeeBps/100, m.FeeBps%100)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".") + "\u00a0%"
}

// taskPage is a page of tasks, the newest first.
func (s *Site) taskPage(r *http.Request, f books.Filter) (l listing[market.Task], err error) {
	after := r.URL.Query().Get("after")
	if f.BeforeMs, f.BeforeID, err = placeOf(after); err != nil {
		return l, err
	}
	f.Limit = linesOnPage
	if l.Items, err = s.options.Market.Tasks(r.Context(), f); err != nil {
		return l, err
	}
	if after != "" {
		l.First = pageAt(r, "")
	}
	if n := len(l.Items); n == linesOnPage {
		l.Next = pageAt(r, placeAt(l.Items[n-1].CreatedAtMs, l.Items[n-1].TaskID))
	}
	return l, nil
}

// pageAt is the address of the same list from another place on.
func pageAt(r *http.Request, after string) string {
	q := r.URL.Query()
	q.Del("after")
	if after != "" {
		q.Set("after", after)
	}
	if len(q) == 0 {
		return r.URL.Path
	}
	return r.URL.Path + "?" + q.Encode()
}

// A place in a list is its last item on the page before.
func placeAt(ms int64, id string) string { return strconv.FormatInt(ms, 10) + "_" + id }

func placeOf(text string) (ms int64, id string, err error) {
	if text == "" {
		return 0, "", nil
	}
	number, id, ok := strings.Cut(text, "_")
	ms, bad := strconv.ParseInt(number, 10, 64)
	if !ok || bad != nil || !market.ValidID(id) {
		return 0, "", api.Errorf(api.CodeCursorInvalid, "The list has no such place. Begin with its first page.")
	}
	return ms, id, nil
}

type boardData struct {
	stall
	Tasks listing[boardLine]
}

// boardLine is an open task in few words.
type boardLine struct {
	market.Task
	Short  string
	Wanted string // of the proof
}

const shortText = 240

func (s *Site) boardLine(t market.Task) boardLine {
	l := boardLine{Task: t, Short: t.Description, Wanted: "any JSON"}
	if cut := []rune(l.Short); len(cut) > shortText {
		l.Short = string(cut[:shortText]) + "…"
	}
	if asked := s.schemas.of(t); asked != nil {
		var names []string
		for _, f := range asked.Fields[:min(len(asked.Fields), 6)] {
			if f.Required {
				names = append(names, f.Name)
			}
		}
		l.Wanted = "JSON of the task’s schema"
		if len(names) > 0 {
			l.Wanted = "JSON with " + strings.Join(names, ", ")
		}
	}
	return l
}

// marketBoard is what robots can claim.
func (s *Site) marketBoard(r *http.Request) (view, error) {
	d := boardData{stall: s.stall(r, "board")}
	tasks, err := s.taskPage(r, books.Filter{Status: market.Funded})
	if err != nil {
		return view{}, err
	}
	d.Tasks.First, d.Tasks.Next = tasks.First, tasks.Next
	for _, t := range tasks.Items {
		d.Tasks.Items = append(d.Tasks.Items, s.boardLine(t))
	}
	return view{Template: "market", Title: "Marketplace", Section: "market", Script: marketScript, Data: d}, nil
}

const marketScript = "market.js"

type tasksData struct {
	stall
	Tasks    listing[market.Task]
	Account  string
	Status   string
	Statuses []market.Status
	Fault    string
}

// marketTasks is every task that the portal may see, of an account or in a state.
func (s *Site) marketTasks(r *http.Request, _ session) (view, error) {
	q := r.URL.Query()
	d := tasksData{stall: s.stall(r, "tasks"), Account: strings.TrimSpace(q.Get("account")), Status: q.Get("status"), Statuses: market.Statuses}
	v := view{Template: "market-tasks", Title: "Tasks", Section: "market", Script: marketScript}
	if d.Account != "" && !market.ValidID(d.Account) {
		d.Fault, v.Status, v.Data = notAnID, http.StatusUnprocessableEntity, d
		return v, nil
	}
	if d.Status != "" && !market.ValidID(d.Status) {
		return v, api.Errorf(api.CodeMalformed, "There is no state %.64q.", d.Status)
	}
	var err error
	d.Tasks, err = s.taskPage(r, books.Filter{Client: d.Account, Status: market.Status(d.Status)})
	v.Data = d
	return v, err
}

const notAnID = "must be 1 to 128 characters of A-Z a-z 0-9 . _ : @ -"

// taskOf reads the task of a page. A visitor sees a task from its payment on.
func (s *Site) taskOf(r *http.Request, in bool) (market.Task, error) {
	id := r.PathValue("id")
	if !market.ValidID(id) {
		return market.Task{}, market.Refuse(market.CodeTaskNotFound, "There is no task %.128q.", id)
	}
	t, err := s.options.Market.Task(r.Context(), id)
	if err == nil && !in && t.FundedAtMs == 0 {
		err = market.Refuse(market.CodeTaskNotFound, "There is no task %s that was paid for. Its client sees it after signing in.", id)
	}
	return t, err
}

// taskData is a task as its reader may see it.
type taskData struct {
	stall
	T       market.Task
	State   string // in words
	Life    []lifeStep
	Next    string // what comes next, in words; "" at the end
	NextMs  int64  // by when
	Schema  *schemaData
	Proof   *proofData
	Payout  *payoutData
	Refusal *api.Problem // of a form
	Reason  string       // of a dispute, as typed
	Note    string       // of a decision, as typed
	Sats    string       // of a split, as typed
	Outcome string       // of a decision, as chosen
	Done    string       // what was just done
}

type payoutData struct {
	Entry *market.Entry
	Sweep *market.Sweep
}

// TaskFee is the fee that was agreed with this task.
func (d taskData) TaskFee() string { return stall{FeeBps: d.T.CoordinatorFeeBps}.Fee() }

// EscrowSays is where the client's sats are.
func (d taskData) EscrowSays() string {
	switch d.T.EscrowState {
	case market.EscrowUnpaid:
		return "not paid"
	case market.EscrowHeld:
		return "held by the payer’s node"
	case market.EscrowCapturing:
		return "being taken in from the payer’s node"
	case market.EscrowReceived:
		return "kept by the coordinator"
	}
	return "passed on"
}

// RewardSays is where the robot's sats are.
func (d taskData) RewardSays() string {
	switch {
	case d.T.Status != market.Settled && d.T.Status.Final():
		return "not earned"
	case d.T.Status != market.Settled:
		return "once the proof is accepted"
	case d.Payout != nil && d.Payout.Entry != nil && d.Payout.Entry.Status == market.Swept:
		return "paid on chain"
	case d.T.Resolution != nil && d.T.Resolution.RobotSats < d.T.RewardSats:
		return "of it " + sats(d.T.Resolution.RobotSats) + " after the dispute"
	}
	return "the robot’s; leaves with a payout"
}

// Fault is what was wrong with a field of a form.
func (d taskData) Fault(field string) string {
	if d.Refusal == nil {
		return ""
	}
	return faultOf(d.Refusal.Errors, field)
}

// faultOf joins the faults of a field.
func faultOf(faults []string, field string) string {
	var found []string
	for _, fault := range faults {
		if text, ok := strings.CutPrefix(fault, field+": "); ok {
			found = append(found, text)
		}
	}
	return strings.Join(found, "; ")
}

func (s *Site) marketTask(r *http.Request) (view, error) {
	d, err := s.taskData(r)
	if err != nil {
		return view{}, err
	}
	return taskView(d), nil
}

func taskView(d taskData) view {
	v := view{Template: "market-task", Title: "Task: " + d.T.Title, Section: "market", Script: marketScript, Data: d}
	if d.Refusal != nil {
		v.Status = d.Refusal.Status
	}
	return v
}

func (s *Site) taskData(r *http.Request) (d taskData, err error) {
	d = taskData{stall: s.stall(r, "board"), Done: doneWords[r.URL.Query().Get("done")]}
	if d.Portal {
		d.Tab = "tasks"
	}
	if d.T, err = s.taskOf(r, d.In); err != nil {
		return d, err
	}
	p := s.options.Market.Policy()
	d.State = stateSays(d.T)
	d.Life = lifeOf(d.T, d.In)
	d.Next, d.NextMs = nextOf(d.T, p)
	d.Schema = s.schemas.of(d.T)
	if d.T.ProofSHA256 != "" {
		if d.Proof, err = s.proofData(r, d.T, d.Portal || d.Admin); err != nil {
			return d, err
		}
	}
	if d.Mesh || d.Admin {
		d.Payout = new(payoutData)
		if d.Payout.Entry, d.Payout.Sweep, err = s.options.Market.Payout(r.Context(), d.T); err != nil {
			return d, err
		}
	}
	return d, nil
}

// doneWords are what a page says after a form was sent.
var doneWords = map[string]string{
	"settled":   "Accepted. The reward is the robot’s and leaves with the next payout.",
	"disputed":  "Disputed. Nothing is paid until the operator has decided.",
	"cancelled": "Taken back. What was paid is on the client’s account, or never left the payer.",
	"resolved":  "Decided.",
	"posted":    "Posted, and paid from the account. Robots see it now.",
}

type fundData struct {
	stall
	T       market.Task
	Invoice invoiceData
	Next    string
	NextMs  int64
}

// marketFund is the invoice of a task, until it is paid.
func (s *Site) marketFund(r *http.Request, _ session) (view, error) {
	t, err := s.taskOf(r, true)
	if err != nil {
		return view{}, err
	}
	d := fundData{stall: s.stall(r, "tasks"), T: t}
	d.Next, d.NextMs = nextOf(t, s.options.Market.Policy())
	if t.Status == market.PendingFunding && t.InvoiceRef != "" {
		if d.Invoice, err = invoiceOf(t.InvoiceRef); err != nil {
			return view{}, err
		}
	}
	return view{Template: "market-fund", Title: "Pay for " + t.Title, Section: "market", Script: marketScript, Data: d}, nil
}

type accountData struct {
	stall
	Account   string
	Fault     string
	Balance   int64
	Items     []market.Withdrawal
	Tasks     []market.Task
	Refusal   *api.Problem
	Bolt11    string
	Address   string
	Amount    string
	Withdrawn *market.Withdrawal
}

// FieldFault is what was wrong with a field of the form.
func (d accountData) FieldFault(field string) string {
	if d.Refusal == nil {
		return ""
	}
	return faultOf(d.Refusal.Errors, field)
}

// marketAccount is what a client has with the coordinator.
func (s *Site) marketAccount(r *http.Request, _ session) (view, error) {
	d := accountData{stall: s.stall(r, "accounts"), Account: strings.TrimSpace(r.URL.Query().Get("account"))}
	return s.accountView(r, d)
}

func (s *Site) accountView(r *http.Request, d accountData) (view, error) {
	v := view{Template: "market-account", Title: "Account", Section: "market", Script: marketScript}
	switch {
	case d.Account == "":
	case !market.ValidID(d.Account):
		d.Fault, v.Status = notAnID, http.StatusUnprocessableEntity
	default:
		a, err := s.options.Market.Account(r.Context(), d.Account)
		if err != nil {
			return v, err
		}
		v.Title, d.Balance, d.Items = "Account "+d.Account, a.BalanceSats, a.Withdrawals
		if d.Tasks, err = s.options.Market.Tasks(r.Context(), books.Filter{Client: d.Account, Limit: 10}); err != nil {
			return v, err
		}
		if id := r.URL.Query().Get("withdrawn"); id != "" {
			for i, w := range d.Items {
				if w.WithdrawalID == id {
					d.Withdrawn = &d.Items[i]
				}
			}
		}
	}
	if d.Refusal != nil {
		v.Status = d.Refusal.Status
	}
	v.Data = d
	return v, nil
}

// accountPath is the address of an account's page.
func accountPath(account string) string {
	return "/market/accounts?account=" + url.QueryEscape(account)
}
