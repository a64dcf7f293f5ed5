package reserve

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// genesis is when every run begins, Unix ms: midnight of a day.
const genesis = uint64(1_800_000_000_000) / policy.Day * policy.Day

// Watch sees every command that a run gives to the books: once what was due before it is
// posted, with the books' answer. It must not change the books.
type Watch func(c ledger.Command, at uint64, answer error) error

// World is a reserve with its people, organisations and robots. It is not safe for
// concurrent use.
type World struct {
	P     Params
	book  *ledger.Book
	works *works
	dice  dice
	watch Watch
	now   uint64 // Unix ms
	day   uint64

	members []string // accounts; who left stays
	people  []person
	orgs    []string
	robots  []robot
	jobs    []job // open contracts
	pending []int // contracts proposed and not awarded, by number of proposal
	number  uint64
	orders  uint64
	bonds   []uint64 // serials not redeemed
	fresh   []uint64 // certificates of the day before
	flows   Flows
	rows    []Row
}

type person struct {
	left   bool
	thawed uint64 // day on which a frozen wallet is free again, 0 for none
	status uint64 // version of the enrolment
}

type robot struct {
	id     string
	owner  int // organisation
	job    uint64
	broken uint64 // day on which it works again
}

// Flows are what happened up to now: amounts in JT, and counts.
type Flows struct {
	Dividend, Each, Demurrage, Yield, Spent, Given, Saved, Noticed, Wages, Lent, Invested, Growth int64
	Minted, Recalled, Bonds, Redeemed, Orders, Refused                                            int64
	Proposed, Awarded, Funded, Completed, Cancelled, Defaulted, Abandoned                         int64
	Reports, Void, Joined, Left                                                                   int64
	Reasons                                                                                       map[string]int64 // of the vault check's refusals
}

// unique finds nothing: no key is used twice in a run.
type unique struct{}

func (unique) Find(string) (ledger.Known, bool, error) { return ledger.Known{}, false, nil }

// New founds a reserve: a policy, everybody's enrolment, robots with fresh keys. watch may
// be nil. An error of the parameters is a scenario's error.
func New(p Params, watch Watch) (*World, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	w := &World{P: p, book: ledger.New(torq.Standard(), Origin, unique{}), dice: dice{uint64(p.Seed)}, watch: watch, now: genesis}
	w.flows.Reasons = map[string]int64{}
	document, err := w.policy()
	if err != nil {
		return nil, err
	}
	if w.works, err = newWorks(w.book.Profile(), p.OreTrees != 0, w.now); err != nil {
		return nil, err
	}
	if err := w.works.log(root, proof.TypePolicy, document); err != nil {
		return nil, err
	}
	if err := w.do(&ledger.Adopt{Document: document}); err != nil {
		return nil, err
	}
	for i := range int(p.Organisations) {
		w.orgs = append(w.orgs, fmt.Sprintf("org:o%03d", i))
		if err := w.do(&ledger.Enrol{Account: w.orgs[i]}); err != nil {
			return nil, err
		}
	}
	for range p.Members {
		if err := w.join(); err != nil {
			return nil, err
		}
	}
	for i := range int(p.Robots) {
		r := robot{id: fmt.Sprintf("robot-%04d", i), owner: i % len(w.orgs)}
		if err := w.works.enrol(r.id, strings.TrimPrefix(w.orgs[r.owner], "org:"), uint64(p.Watts), uint64(p.Tokens), w.now); err != nil {
			return nil, err
		}
		w.robots = append(w.robots, r)
	}
	return w, nil
}

// policy is the document of the run: the defaults and what the parameters say.
func (w *World) policy() ([]byte, error) {
	p := &w.P
	d, err := policy.Default(Origin, w.now)
	if err != nil {
		return nil, err
	}
	fields, err := json.Marshal(map[string]any{
		"demurrage_per_year": decimal(p.Demurrage), "savers_share": decimal(p.SaversShare), "savings_cap": decimal(p.SavingsCap),
		"savings_notice": uint64(p.NoticeDays) * policy.Day, "stake_target": toJT(p.StakeTarget), "min_members": p.MinMembers,
		"investor_bps": p.InvestorBPS, "release_every": uint64(p.ReleaseMinutes) * policy.Minute, "enterprise_cap": decimal(p.EnterpriseCap),
	})
	if err != nil {
		return nil, err
	}
	if d, err = policy.Amend(d, fields); err != nil {
		return nil, fmt.Errorf("the scenario's policy: %w", err)
	}
	return d.Encode()
}

// decimal prints millionths as a policy's rate.
func decimal(millionths int64) string {
	text := strings.TrimRight(fmt.Sprintf("%d.%06d", millionths/Micro, millionths%Micro), "0")
	return strings.TrimSuffix(text, ".")
}

// toJT are the JT of millionths of an RT.
func toJT(micro int64) int64 { return micro * torq.OrePerRT / Micro }

// Book is the run's books; they must not be changed.
func (w *World) Book() *ledger.Book { return w.book }

// Now is the virtual clock, Unix ms.
func (w *World) Now() uint64 { return w.now }

// Flows are what happened up to now.
func (w *World) Flows() Flows { return w.flows }

// Rows are the steps so far.
func (w *World) Rows() []Row { return w.rows }

// pass lets time pass to a time of the day and posts what is due.
func (w *World) pass(ms uint64) error {
	w.now = max(w.now, genesis+w.day*policy.Day+ms)
	return w.advance()
}

func (w *World) advance() error {
	outcomes, err := w.book.Advance(w.now)
	for _, out := range outcomes {
		w.count(out)
	}
	return err
}

// count adds up what became due.
func (w *World) count(out ledger.Outcome) {
	if out.Posting == nil {
		return
	}
	f := &w.flows
	switch out.Posting.Kind {
	case ledger.KindRelease:
		f.Each += int64(out.Each)
		for _, e := range out.Posting.Entries {
			if e.Account == "wallets" && e.Amount > 0 {
				f.Dividend += int64(e.Amount)
			}
		}
	case ledger.KindTick:
		for _, e := range out.Posting.Entries {
			switch {
			case e.Account == "wallets" && e.Amount < 0:
				f.Demurrage -= int64(e.Amount)
			case e.Account == "savings" && e.Amount > 0:
				f.Yield += int64(e.Amount)
			}
		}
	case ledger.KindRepay:
		f.Recalled++
	}
}

// do posts a command now. What the books refuse is an error here; see [World.ask].
func (w *World) do(c ledger.Command) error {
	refused, err := w.ask(c)
	if err == nil && refused != nil {
		err = fmt.Errorf("day %d: the books refuse what a run never does wrong: %s: %w", w.day, c.Key(), refused)
	}
	return err
}

// ask posts a command now, after what is due. A refusal by the rules is an answer, not an
// error; a broken invariant is an error.
func (w *World) ask(c ledger.Command) (refused, err error) {
	if w.book.State().Policies > 0 {
		if err := w.advance(); err != nil {
			return nil, err
		}
	}
	_, refused = w.book.Apply(c, w.now)
	switch ledger.CodeOf(refused) {
	case ledger.CodeInvariant, ledger.CodeMalformed, ledger.CodeBehind, ledger.CodeOutOfOrder, ledger.CodeConflict:
		return nil, refused
	}
	if err := w.advance(); err != nil {
		return nil, err
	}
	if w.watch != nil {
		err = w.watch(c, w.now, refused)
	}
	return refused, err
}

// order posts an order of one account. What its funds or the rules do not allow is
// counted and nothing happens.
func (w *World) order(from string, operations ...ledger.Operation) (done bool, err error) {
	w.orders++
	o := ledger.Order{Origin: Origin, From: from, Created: w.now, Expires: w.now + policy.Day, Operations: operations}
	for i := range 8 {
		o.ID[i] = byte(w.orders >> (8 * i))
	}
	c, err := ledger.NewSubmit(seal.Envelope{PayloadType: ledger.TypeOrder, Payload: o.Encode()})
	if err != nil {
		return false, err
	}
	refused, err := w.ask(c)
	w.flows.Orders++
	if refused != nil {
		w.flows.Refused++
	}
	return refused == nil && err == nil, err
}

// Times of a day, ms after midnight.
const (
	atPeople    = 6 * policy.Hour
	atContracts = 7 * policy.Hour
	atInvesting = 8 * policy.Hour
	atOrders    = 10 * policy.Hour
	atWages     = 14 * policy.Hour
	atReports   = 20 * policy.Hour
)

// Day lives through one day, to its midnight, and adds its row.
func (w *World) Day() error {
	before := w.flows
	for _, part := range []struct {
		at uint64
		do func() error
	}{
		{atPeople, w.comeAndGo}, {atPeople, w.recalls}, {atPeople, w.bearers}, {atContracts, w.contracts}, {atInvesting, w.investors},
		{atOrders, w.shopping}, {atWages, w.wages}, {atReports, w.produce}, {policy.Day, func() error { return nil }},
	} {
		if err := w.pass(part.at); err != nil {
			return err
		}
		if err := part.do(); err != nil {
			return err
		}
		w.book.Drain() // nothing is stored
	}
	w.day++
	w.see(before)
	return nil
}

// Days is the length of the run.
func (w *World) Days() uint64 { return uint64(w.P.Days) }

func contractID(number uint64) string { return proof.ContractID(Origin, number) }

func contractNumber(id string) (uint64, error) {
	_, digits, _ := strings.Cut(id, "#")
	return strconv.ParseUint(digits, 10, 64)
}
