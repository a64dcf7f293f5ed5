package web

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/coordinator"
)

// once names a form, so that the same one sent twice is done once: the page that it was on, and
// what was filled in. Who goes back and changes something sends another one.
func once(r *http.Request, role api.Role) coordinator.Once {
	digest := sha256.New()
	values := url.Values{}
	for name, of := range r.PostForm {
		if name != formField {
			values[name] = of
		}
	}
	digest.Write([]byte(values.Encode()))
	o := coordinator.Once{Route: "page " + roleName(role) + " " + r.URL.Path, Digest: [32]byte(digest.Sum(nil))}
	if r.PostForm.Get("once") != "" {
		o.Key = hex.EncodeToString(o.Digest[:])
	}
	return o
}

// grouped is a number as people write it, in groups of three.
var grouped = regexp.MustCompile(`^[0-9]{1,3}([ ,_\x{a0}\x{2009}\x{202f}][0-9]{3})+$`)

// wholeNumber reads a number without decimals.
func wholeNumber(text string) (int64, bool) {
	text = strings.TrimSpace(text)
	if grouped.MatchString(text) {
		text = strings.Map(func(c rune) rune {
			if c >= '0' && c <= '9' {
				return c
			}
			return -1
		}, text)
	}
	if len(text) == 0 || strings.TrimLeft(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}

const wholeSats = "must be a whole number of sats, such as 25,000"

// postForm is a task as it was typed.
type postForm struct {
	Account, Title, Description, Kind, Needs, Amount, Timeout, Unit, Schema, Escrow, Webhook string
	Relist                                                                                   bool
}

type postData struct {
	stall
	F       postForm
	Units   []timeUnit
	Refusal *api.Problem
	Faults  []string // by the names of the form's fields
	MaxSats int64
	Usual   int64 // milliseconds to do a task in, where none are given
}

type timeUnit struct {
	Name string
	Ms   int64
}

var timeUnits = []timeUnit{{"minutes", 60_000}, {"hours", 3_600_000}, {"days", 86_400_000}}

// Fault is what was wrong with a field.
func (d postData) Fault(field string) string { return faultOf(d.Faults, field) }

// postFields are the names of the desk's fields in the form.
var postFields = map[string]string{
	"clientAccountId": "account", "title": "title", "description": "description", "taskKind": "kind", "resourceRequirements": "needs",
	"amountSats": "amount", "timeoutMs": "timeout", "proofSchema": "schema", "escrowMode": "escrow", "webhookUrl": "webhook",
}

func (s *Site) postView(r *http.Request, d postData) view {
	d.stall = s.stall(r, "post")
	d.Units, d.MaxSats, d.Usual = timeUnits, market.MaxAmountSats, s.options.Market.Policy().TaskTimeoutMs
	v := view{Template: "market-post", Title: "Post a task", Section: "market", Data: d}
	if d.Refusal != nil {
		v.Status = d.Refusal.Status
	}
	return v
}

func (s *Site) marketPostPage(r *http.Request, _ session) (view, error) {
	return s.postView(r, postData{F: postForm{Account: r.URL.Query().Get("account"), Kind: "physical", Unit: "hours", Timeout: "1", Escrow: string(market.ModeSettled)}}), nil
}

// marketPost posts a task and leads to its invoice.
func (s *Site) marketPost(w http.ResponseWriter, r *http.Request) {
	if _, ok := s.authorised(w, r, roleMarketPortal); !ok {
		return
	}
	text := func(name string) string {
		return strings.TrimSpace(strings.ReplaceAll(r.PostForm.Get(name), "\r\n", "\n"))
	}
	d := postData{F: postForm{
		Account: text("account"), Title: text("title"), Description: text("description"), Kind: text("kind"), Needs: text("needs"), Amount: text("amount"),
		Timeout: text("timeout"), Unit: text("unit"), Schema: text("schema"), Escrow: text("escrow"), Webhook: text("webhook"), Relist: r.PostForm.Get("relist") != "",
	}}
	t, faults := d.F.task()
	made, err := s.createTask(r, t, faults)
	if err != nil {
		p := s.problem(r, err)
		d.Refusal = &p
		d.Faults = faults
		for _, fault := range p.Errors {
			field, said, _ := strings.Cut(fault, ": ")
			if name, known := postFields[field]; known && faultOf(faults, name) == "" {
				d.Faults = append(d.Faults, name+": "+said)
			}
		}
		switch market.Code(p.Code) {
		case market.CodeInsufficientFunds:
			d.Faults = append(d.Faults, "escrow: "+p.Detail)
		case market.CodeCannotReceive:
			d.Faults = append(d.Faults, "amount: "+p.Detail)
		}
		s.render(w, r, s.postView(r, d))
		return
	}
	to := "/market/tasks/" + made.TaskID + "/fund"
	if made.InvoiceRef == "" {
		to = "/market/tasks/" + made.TaskID + "?done=posted"
	}
	seeOther(w, r, to)
}

// createTask asks the desk for a task, unless what was typed cannot be one; then the desk is
// still asked what else is wrong, and nothing is made.
func (s *Site) createTask(r *http.Request, t market.Task, faults []string) (market.Task, error) {
	desk := s.options.Market
	if len(faults) > 0 {
		refused := &market.Error{Code: market.CodeInvalid, Detail: "Some fields are wrong."}
		if _, err := (market.Machine{Policy: desk.Policy()}).Prepare(t, desk.Now()); err != nil {
			p := s.problem(r, err)
			refused.Faults = p.Errors
		}
		return t, refused
	}
	made, err := desk.Create(r.Context(), t, once(r, roleMarketPortal))
	return made.Task, err
}

// task reads the form; what cannot be read is a fault of the form's field.
func (f postForm) task() (market.Task, []string) {
	var faults market.Faults
	t := market.Task{ClientAccountID: f.Account, Title: f.Title, Description: f.Description, TaskKind: f.Kind, ResourceRequirements: strings.FieldsFunc(f.Needs, func(c rune) bool {
		return c == ',' || c == ';' || c == ' ' || c == '\n' || c == '\t'
	}), EscrowMode: market.EscrowMode(f.Escrow), Relist: f.Relist, WebhookURL: f.Webhook}
	if t.ResourceRequirements == nil {
		t.ResourceRequirements = []string{}
	}
	if f.Schema != "" {
		t.ProofSchema = json.RawMessage(f.Schema)
	}
	var ok bool
	if t.EscrowSats, ok = wholeNumber(f.Amount); !ok {
		faults.Add("amount", wholeSats)
	}
	if f.Timeout == "" {
		return t, faults
	}
	n, ok := wholeNumber(f.Timeout)
	if !ok || n < 1 || n > 1_000_000 {
		faults.Add("timeout", "must be a whole number of minutes, hours or days, at most %d days", int64(market.MaxTimeoutMs/86_400_000))
		return t, faults
	}
	for _, unit := range timeUnits {
		if unit.Name == f.Unit {
			t.TimeoutMs = n * unit.Ms
		}
	}
	switch {
	case t.TimeoutMs == 0:
		faults.Add("timeout", "choose minutes, hours or days")
	case t.TimeoutMs > market.MaxTimeoutMs:
		faults.Add("timeout", "must be at most %d days", int64(market.MaxTimeoutMs/86_400_000))
	}
	return t, faults
}

func seeOther(w http.ResponseWriter, r *http.Request, to string) {
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// marketDecide answers a form on a task's page: it leads back to the page, or shows it with
// what was wrong.
func (s *Site) marketDecide(role api.Role, do func(*http.Request, string) (done string, err error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if _, ok := s.authorised(w, r, role); !ok {
			return
		}
		t, err := s.taskOf(r, true)
		if err != nil {
			s.render(w, r, s.marketRefused(r, err))
			return
		}
		done, err := do(r, t.TaskID)
		if err == nil {
			seeOther(w, r, "/market/tasks/"+t.TaskID+"?done="+done)
			return
		}
		p := s.problem(r, err)
		d, err := s.taskData(r)
		if err != nil {
			s.render(w, r, s.marketRefused(r, err))
			return
		}
		d.Refusal, d.Done = &p, ""
		d.Reason, d.Note, d.Sats, d.Outcome = r.PostForm.Get("reason"), r.PostForm.Get("note"), r.PostForm.Get("robotSats"), r.PostForm.Get("outcome")
		s.render(w, r, taskView(d))
	}
}

func (s *Site) marketSettle(r *http.Request, id string) (string, error) {
	_, err := s.options.Market.Settle(r.Context(), id, r.PostForm.Get("account"), once(r, roleMarketPortal))
	return "settled", err
}

// marketDispute disputes. The desk keeps no answer to a dispute: that the same form came before
// shows in the task.
func (s *Site) marketDispute(r *http.Request, id string) (string, error) {
	account, reason := r.PostForm.Get("account"), strings.TrimSpace(r.PostForm.Get("reason"))
	_, err := s.options.Market.Dispute(r.Context(), id, account, reason)
	if market.CodeOf(err) == market.CodeTaskNotSubmitted {
		if t, read := s.options.Market.Task(r.Context(), id); read == nil && t.Status == market.Disputed && t.DisputeReason == reason && t.ClientAccountID == account {
			err = nil
		}
	}
	return "disputed", err
}

// marketCancel takes a task back; to do so twice is no fault.
func (s *Site) marketCancel(r *http.Request, id string) (string, error) {
	account := r.PostForm.Get("account")
	_, err := s.options.Market.Cancel(r.Context(), id, account)
	if market.CodeOf(err) == market.CodeTaskNotCancellable {
		if t, read := s.options.Market.Task(r.Context(), id); read == nil && t.ClaimedBy == "" && t.ClientAccountID == account {
			switch t.Status {
			case market.Cancelled, market.Refunding, market.Refunded:
				err = nil
			}
		}
	}
	return "cancelled", err
}

func (s *Site) marketResolve(r *http.Request, id string) (string, error) {
	resolution := market.Resolution{Outcome: market.Outcome(r.PostForm.Get("outcome")), Note: strings.TrimSpace(r.PostForm.Get("note")), By: string(api.RoleAdmin)}
	if resolution.Outcome == market.OutcomeSplit {
		var ok bool
		if resolution.RobotSats, ok = wholeNumber(r.PostForm.Get("robotSats")); !ok {
			return "", &market.Error{Code: market.CodeInvalid, Detail: "How much is the robot’s?", Faults: []string{"robotSats: " + wholeSats}}
		}
	}
	_, err := s.options.Market.Resolve(r.Context(), id, resolution, once(r, roleMarketAdmin))
	return "resolved", err
}

// marketWithdraw pays out of an account: an invoice, or an address with the next payout.
func (s *Site) marketWithdraw(w http.ResponseWriter, r *http.Request) {
	if _, ok := s.authorised(w, r, roleMarketPortal); !ok {
		return
	}
	text := func(name string) string { return strings.TrimSpace(r.PostForm.Get(name)) }
	d := accountData{stall: s.stall(r, "accounts"), Account: text("account"), Bolt11: text("bolt11"), Address: text("address"), Amount: text("amount")}
	made, err := s.withdraw(r, d)
	if err == nil {
		seeOther(w, r, accountPath(d.Account)+"&withdrawn="+made.WithdrawalID)
		return
	}
	p := s.problem(r, err)
	d.Refusal = &p
	s.serve(s.told(func(r *http.Request) (view, error) { return s.accountView(r, d) }))(w, r)
}

func (s *Site) withdraw(r *http.Request, d accountData) (made market.Withdrawal, err error) {
	var f market.Faults
	if !market.ValidID(d.Account) {
		f.Add("account", notAnID)
	}
	if r.PostForm.Get("way") == "chain" {
		amount, ok := wholeNumber(d.Amount)
		if !ok {
			f.Add("amountSats", wholeSats)
		}
		if err := f.Err(market.CodeInvalid); err != nil {
			return made, err
		}
		return s.options.Market.WithdrawChain(r.Context(), d.Account, d.Address, amount, once(r, roleMarketPortal))
	}
	invoice := strings.TrimPrefix(strings.ToLower(d.Bolt11), "lightning:")
	if invoice == "" {
		f.Add("bolt11", "is required")
	}
	if err := f.Err(market.CodeInvalid); err != nil {
		return made, err
	}
	return s.options.Market.WithdrawLightning(r.Context(), d.Account, invoice)
}
