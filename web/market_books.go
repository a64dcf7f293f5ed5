package web

import (
	"encoding/hex"
	"net/http"
	"strings"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/books"
	"robotorq.org/reserve/market/coordinator"
	"robotorq.org/reserve/market/wire"
)

type treasuryData struct {
	stall
	T        wire.Treasury
	W        coordinator.Waiting
	Bar      any
	Classes  []classLine
	Held     int64 // what the coordinator has of others' and its own
	Came     int64
	Left     int64
	Holds    bool
	Disputes []market.Task
	Counts   []statusCount
	Waits    []reasonLine // why payouts wait
}

type classLine struct {
	Name string
	Say  string
	Sats int64
	Tone int
}

type reasonLine struct{ Whose, Why string }

type statusCount struct {
	Status market.Status
	N      int64
}

// ledgerWords name the classes of accounts on the left of the identity.
var ledgerWords = []struct {
	class     market.Class
	name, say string
}{
	{market.ClassEscrow, "Escrow", "paid for tasks that are not settled"},
	{market.ClassClient, "Clients", "refunds on their accounts"},
	{market.ClassAccrued, "Robots", "earned, not yet in a payout"},
	{market.ClassInFlight, "In flight", "in a payout or a withdrawal that is not final"},
	{market.ClassFees, "Fees", "the coordinator’s own, less what miners got"},
}

const mostWaiting = 50

// marketTreasury is the operator's view of the two pots and the ledger.
func (s *Site) marketTreasury(r *http.Request, _ session) (view, error) {
	desk := s.options.Market
	d := treasuryData{stall: s.stall(r, "treasury")}
	var err error
	if d.T, err = desk.Treasury(r.Context()); err != nil {
		return view{}, err
	}
	if d.W, err = desk.Waiting(r.Context(), mostWaiting); err != nil {
		return view{}, err
	}
	if d.Disputes, err = desk.Tasks(r.Context(), books.Filter{Status: market.Disputed, Limit: mostWaiting}); err != nil {
		return view{}, err
	}
	counts, err := desk.Count(r.Context())
	if err != nil {
		return view{}, err
	}
	for _, status := range market.Statuses {
		if n := counts[status]; n > 0 {
			d.Counts = append(d.Counts, statusCount{status, n})
		}
	}
	var parts []part
	for i, of := range ledgerWords {
		n := d.T.Ledger[string(of.class)]
		d.Held += n
		d.Classes = append(d.Classes, classLine{of.name, of.say, n, i})
		parts = append(parts, part{Value: asUint(n), Tone: i})
	}
	d.Came, d.Left = d.T.Ledger[string(market.ClassReceived)], d.T.Ledger[string(market.ClassPaid)]
	d.Holds = d.Held == d.Came-d.Left
	d.Bar = divided("What the coordinator holds, by whose it is; the table below has the figures", parts)
	for _, of := range []struct{ kind, whose string }{{"earnings", "Robots’ earnings"}, {"withdrawals", "Clients’ withdrawals"}} {
		if why := d.T.Deferred[of.kind]; why != "" {
			d.Waits = append(d.Waits, reasonLine{of.whose, why})
		}
	}
	return view{Template: "market-treasury", Title: "Treasury", Section: "market", Script: marketScript, Data: d}, nil
}

type payoutsData struct {
	stall
	Sweeps  listing[sweepLine]
	W       coordinator.Waiting
	Refusal *api.Problem
	Know    string
	Done    string
}

type sweepLine struct {
	market.Sweep
	Say   string
	First []market.Payout
	More  int
}

// Fault is what was wrong with a field of the form.
func (d payoutsData) Fault(field string) string {
	if d.Refusal == nil {
		return ""
	}
	return faultOf(d.Refusal.Errors, field)
}

// sweepWords say how a payout stands.
var sweepWords = map[market.SweepState]string{
	market.SweepPlanned:   "being built",
	market.SweepBuilt:     "built and stored, not yet sent",
	market.SweepBroadcast: "sent to the network",
	market.SweepSeen:      "waits for a block",
	market.SweepConfirmed: "in a block, not deep enough yet",
	market.SweepFinal:     "paid for good",
	market.SweepDeferred:  "not built; the payees wait for the next one",
	market.SweepLost:      "overtaken by a foreign transaction; the payees wait for the next one",
}

const (
	sweepsOnPage = 10
	shownPayees  = 12
)

func (s *Site) marketPayouts(r *http.Request, _ session) (view, error) {
	return s.payoutsView(r, payoutsData{})
}

func (s *Site) payoutsView(r *http.Request, d payoutsData) (view, error) {
	desk := s.options.Market
	d.stall = s.stall(r, "payouts")
	switch done := r.URL.Query().Get("done"); {
	case done == "paid":
		d.Done = "A payout was made."
	case done == "none":
		d.Done = "Everything was looked after; nobody could be paid now."
	}
	after := r.URL.Query().Get("after")
	beforeMs, beforeID, err := placeOf(after)
	if err != nil {
		return view{}, err
	}
	list, err := desk.Sweeps(r.Context(), beforeMs, beforeID, sweepsOnPage)
	if err != nil {
		return view{}, err
	}
	for _, of := range list {
		n := min(len(of.Payouts), shownPayees)
		d.Sweeps.Items = append(d.Sweeps.Items, sweepLine{of, sweepWords[of.State], of.Payouts[:n], len(of.Payouts) - n})
	}
	if after != "" {
		d.Sweeps.First = r.URL.Path
	}
	if n := len(list); n == sweepsOnPage {
		d.Sweeps.Next = r.URL.Path + "?after=" + placeAt(list[n-1].PlannedAtMs, list[n-1].SweepID)
	}
	if d.W, err = desk.Waiting(r.Context(), mostWaiting); err != nil {
		return view{}, err
	}
	v := view{Template: "market-payouts", Title: "Payouts", Section: "market", Script: marketScript, Data: d}
	if d.Refusal != nil {
		v.Status = d.Refusal.Status
	}
	return v, nil
}

// marketSweep pays everybody who is owed enough, now.
func (s *Site) marketSweep(w http.ResponseWriter, r *http.Request) {
	if _, ok := s.authorised(w, r, roleMarketAdmin); !ok {
		return
	}
	d := payoutsData{Know: strings.TrimSpace(r.PostForm.Get("know"))}
	var f market.Faults
	know := strings.Fields(d.Know)
	for _, id := range know {
		if raw, err := hex.DecodeString(id); err != nil || len(raw) != 32 || id != strings.ToLower(id) {
			f.Add("know", "%.80q is no id of a transaction", id)
		}
	}
	err := f.Err(market.CodeInvalid)
	var report wire.SweepReport
	if err == nil {
		report, err = s.options.Market.SweepOnce(r.Context(), know, once(r, roleMarketAdmin))
	}
	if err == nil {
		done := "none"
		if report.Sweep != nil {
			done = "paid"
		}
		seeOther(w, r, "/market/payouts?done="+done)
		return
	}
	p := s.problem(r, err)
	d.Refusal = &p
	s.serve(s.told(func(r *http.Request) (view, error) { return s.payoutsView(r, d) }))(w, r)
}

type robotMarketData struct {
	stall
	Agent string
	Fault string
	A     *market.Agent
	E     wire.Earnings
	Paid  string
}

const earningsOnPage = 100

// marketRobot is what a robot earned.
func (s *Site) marketRobot(r *http.Request, _ session) (view, error) {
	d := robotMarketData{stall: s.stall(r, "robots"), Agent: strings.TrimSpace(r.URL.Query().Get("agent"))}
	v := view{Template: "market-robot", Title: "Earnings", Section: "market", Script: marketScript}
	switch {
	case d.Agent == "":
	case !market.ValidID(d.Agent):
		d.Fault, v.Status = notAnID, http.StatusUnprocessableEntity
	default:
		a, err := s.options.Market.Agent(r.Context(), d.Agent)
		if market.CodeOf(err) == market.CodeAgentNotFound {
			d.Fault, v.Status = "no robot of this name has registered", http.StatusNotFound
			break
		}
		if err != nil {
			return v, err
		}
		if d.E, err = s.options.Market.Earnings(r.Context(), d.Agent, earningsOnPage); err != nil {
			return v, err
		}
		d.A, d.Paid, v.Title = &a, a.AddressAt(d.Now), "Earnings of "+a.AgentID
	}
	v.Data = d
	return v, nil
}
