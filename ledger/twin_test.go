package ledger_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/ledger/slow"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// twin drives the fast books and the slow ones with the same commands.
type twin struct {
	fast     *ledger.Book
	slow     *slow.Books
	now      uint64
	pick     func(n int64, label string) int64 // from 0 to n−1
	accounts []string
	document policy.Document
	next     struct{ contract, order, version uint64 }
	known    map[string]ledger.Known
	postings []ledger.Posting
	done     map[ledger.Kind]int
	refused  map[ledger.Code]int
}

func (w *twin) Find(key string) (ledger.Known, bool, error) {
	known, found := w.known[key]
	return known, found, nil
}

// A policy in which everything happens soon.
const lively = `{"min_members": 2, "genesis_growth": "0.60000007", "bond_fee": "0.0100000013", "deposit": "0.0500000007", "stake_target": 216000000, "savings_notice": 100000000, "notice": 3600000,
	"enterprise_cap": "0.6", "enterprise_cap_from": 36000000, "release_every": 1200000, "backlog_over": 172800000, "savings_cap": "0.2"}`

func newTwin(t testing.TB, fields string, pick func(int64, string) int64) (*twin, error) {
	w := &twin{slow: slow.New(origin), now: start, pick: pick, known: map[string]ledger.Known{}, done: map[ledger.Kind]int{}, refused: map[ledger.Code]int{}}
	w.fast = ledger.New(torq.Standard(), origin, w)
	w.next.contract = 1
	data := policyFile(t, fields)
	var err error
	if w.document, err = policy.Decode(data); err != nil {
		return nil, err
	}
	for _, c := range []ledger.Command{
		&ledger.Adopt{Document: data}, &ledger.Enrol{Account: "org:acme"}, &ledger.Enrol{Account: "member:m0"}, &ledger.Enrol{Account: "member:m1"},
	} {
		if err := w.do(c); err != nil {
			return nil, err
		}
		if e, ok := c.(*ledger.Enrol); ok {
			w.accounts = append(w.accounts, e.Account)
		}
	}
	return w, nil
}

// do does a command on both and compares its outcome and everything after it.
func (w *twin) do(c ledger.Command) error {
	if _, err := w.fast.Advance(w.now); err != nil {
		return err
	}
	out, err := w.fast.Apply(c, w.now)
	if ledger.CodeOf(err) == ledger.CodeInvariant {
		return err
	}
	if !out.Repeated && ledger.CodeOf(err) != ledger.CodeConflict {
		if err := w.slow.Follow(c, w.now, err); err != nil {
			return err
		}
	}
	if err == nil {
		w.done[c.Kind()]++
	} else {
		w.refused[ledger.CodeOf(err)]++
	}
	if _, err := w.fast.Advance(w.now); err != nil {
		return err
	}
	w.drain()
	if err := w.slow.Compare(w.fast, w.now); err != nil {
		return fmt.Errorf("after %s: %w", c.Key(), err)
	}
	return nil
}

func (w *twin) drain() {
	ch := w.fast.Drain()
	w.postings = append(w.postings, ch.Postings...)
	for key, known := range ch.Known {
		w.known[key] = known
	}
}

// one is one of several things.
func one[T any](w *twin, label string, of ...T) T { return of[w.pick(int64(len(of)), label)] }

func (w *twin) chance(n int64, label string) bool { return w.pick(n, label) == 0 }

func (w *twin) anyone() string {
	if w.chance(40, "stranger") {
		return "member:nobody"
	}
	return one(w, "who", w.accounts...)
}

// near is an amount near what there is.
func (w *twin) near(have torq.JT) uint64 {
	switch w.pick(8, "kind of amount") {
	case 0:
		return uint64(max(have, 0))
	case 1:
		return uint64(have + 1)
	case 2:
		return 1
	case 3:
		return 0
	}
	return uint64(1 + w.pick(max(int64(have), 0)+1, "part"))
}

// contract is mostly one that is not over.
func (w *twin) contract() uint64 {
	var open []uint64
	for n, c := range w.fast.Contracts() {
		switch c.Stage {
		case ledger.Awarded, ledger.Funded, ledger.Active:
			open = append(open, n)
		}
	}
	if len(open) == 0 || w.chance(5, "any contract") {
		return uint64(w.pick(int64(w.next.contract)+1, "contract"))
	}
	return one(w, "open contract", open...)
}

func (w *twin) recent() uint64 {
	back := uint64(w.pick(min(6, int64(w.next.contract)), "recent"))
	return w.next.contract - 1 - back
}

func (w *twin) operation(from string) ledger.Operation {
	a, _ := w.fast.Account(from)
	switch w.pick(12, "operation") {
	case 0, 1, 2, 3:
		return ledger.Operation{Kind: ledger.OpSend, To: w.anyone(), Amount: w.near(a.Balance)}
	case 4, 5:
		return ledger.Operation{Kind: ledger.OpSave, Amount: w.near(a.Balance)}
	case 6, 7:
		return ledger.Operation{Kind: ledger.OpLeave, Amount: w.near(a.Savings)}
	case 8:
		return ledger.Operation{Kind: ledger.OpBond, Amount: uint64(w.pick(4, "face")), Hash: merkle.Hash{byte(w.next.order)}}
	case 9:
		return ledger.Operation{Kind: ledger.OpObject, Hash: merkle.Hash{1}}
	}
	n := w.recent()
	open := torq.JT(1000)
	if c, found := w.fast.Contract(n); found {
		open = min(c.Terms.Stake-c.Invests(), max(a.Balance, 1))
	}
	return ledger.Operation{Kind: ledger.OpInvest, To: fmt.Sprintf("%s#%d", origin, n), Amount: w.near(open)}
}

func (w *twin) order() ledger.Command {
	w.next.order++
	from := w.anyone()
	o := ledger.Order{Origin: origin, From: from, ID: [16]byte{byte(w.next.order), byte(w.next.order >> 8), byte(w.next.order >> 16)},
		Created: w.now, Expires: w.now + uint64(w.pick(30, "expires"))}
	for range 1 + w.pick(3, "operations") {
		o.Operations = append(o.Operations, w.operation(from))
	}
	return &ledger.Submit{Envelope: seal.Envelope{PayloadType: ledger.TypeOrder, Payload: o.Encode()}}
}

func (w *twin) award() ledger.Command {
	t := ledger.Terms{
		Number: w.next.contract, Enterprise: one(w, "enterprise", "org:acme", "org:acme", w.anyone()),
		Robots: []string{fmt.Sprintf("r%d", w.pick(60, "robot"))}, Work: 3600 * uint64(1+w.pick(6000, "ingots")),
		Release:      one(w, "release", policy.Uniform, policy.Uniform, "default", "immediate", "long", "soon"),
		DateToMarket: uint64(w.pick(int64(4*policy.Day), "date")), Deadline: w.now + uint64(w.pick(int64(30*policy.Day), "deadline")),
	}
	if t.Release == policy.Uniform {
		t.Duration = uint64(w.pick(int64(3*policy.Day), "duration"))
	}
	if most := int64(t.Work / 2); !w.chance(4, "donated") {
		t.Stake = torq.JT(w.pick(most+2, "stake"))
	}
	w.next.contract++
	return &ledger.Award{Terms: t, VaultPart: torq.JT(w.pick(int64(t.Stake)+1, "vault's part"))}
}

func (w *twin) fund(n uint64) ledger.Command {
	c, _ := w.fast.Contract(n)
	return &ledger.Fund{Contract: n, VaultPart: c.Terms.Stake - c.Invests() + torq.JT(w.pick(20, "wrong part")/19)}
}

// mint fills a certificate from contracts that have ore left, or does something wrong.
func (w *twin) mint() ledger.Command {
	m := &ledger.Mint{Serial: w.fast.State().Certificates + 1}
	missing := uint64(rt)
	for n, c := range w.fast.Contracts() {
		if c.Stage != ledger.Funded && c.Stage != ledger.Active && c.Stage != ledger.Closing || missing == 0 {
			continue
		}
		ore := min(missing, c.Expected-c.Minted)
		if w.chance(2, "all of it") {
			ore = min(ore, 3600*uint64(1+w.pick(600, "ingots")))
		}
		if ore > 0 {
			m.Work = append(m.Work, ledger.Work{Contract: n, Ore: ore})
			missing -= ore
		}
	}
	if len(m.Work) > 0 && missing > 0 {
		last := &m.Work[len(m.Work)-1]
		if c, _ := w.fast.Contract(last.Contract); c.Expected-c.Minted-last.Ore >= missing || w.chance(4, "too much") {
			last.Ore += missing
		}
	}
	return m
}

func (w *twin) close() ledger.Command {
	n := w.contract()
	c, _ := w.fast.Contract(n)
	left := int64(c.Terms.Work-c.Minted) + 2
	return &ledger.Close{Contract: n, Accepted: c.Minted + uint64(w.pick(left, "accepted")),
		Cause: one(w, "cause", ledger.CauseCancelled, ledger.CauseWithdrawn, ledger.CauseDefaulted)}
}

// amend announces the next policy.
func (w *twin) amend() (ledger.Command, error) {
	d := w.document
	effective := max(w.now+d.Notice, d.Effective) + uint64(w.pick(int64(policy.Day), "effective"))
	fields := one(w, "field",
		`"savers_share": "0.25"`, `"savers_share": "1"`, `"savings_cap": "0.12"`, `"savings_notice": 50000000`, `"investor_share": "0.5", "investor_bps": 900`,
		`"genesis_growth": "0.3"`, `"deposit": "0.07"`, `"deposit": "0"`, `"bond_fee": "0.03", "bond_cap": "0.3"`, `"min_members": 11`, `"min_members": 2`,
		`"release_every": 3600000`, `"release_every": 600000`, `"stake_target": 108000000`, `"stake_target": 3600000`, `"stake_target": 288000000`, `"torq_min": 3`,
		`"demurrage_per_year": "0.0609"`, `"demurrage_per_year": "0.0603"`, `"demurrage_per_year": "0.06"`)
	next, err := policy.Amend(d, []byte("{"+fields+"}"))
	if err != nil {
		return nil, err
	}
	next.Version, next.Previous, next.Issued, next.Effective = d.Version+1, digestOf(&d), w.now, effective
	if policy.CheckNext(d, next.Previous, next) != nil {
		next.DemurragePerYear, next.Q = d.DemurragePerYear, d.Q // moved too far at once
	}
	w.document = next
	data, err := next.Encode()
	return &ledger.Adopt{Document: data}, err
}

func (w *twin) recall() ledger.Command {
	return &ledger.Recall{Serial: uint64(w.pick(int64(w.fast.State().Certificates)+2, "serial"))}
}

func (w *twin) enrol() ledger.Command {
	id := one(w, "class", "member:m", "member:m", "org:o") + fmt.Sprint(w.pick(12, "id"))
	if _, found := w.fast.Account(id); !found {
		w.accounts = append(w.accounts, id)
	}
	w.next.order++
	return &ledger.Enrol{Account: id, Digest: merkle.Hash{byte(w.next.order), byte(w.next.order >> 8)}}
}

func (w *twin) status() ledger.Command {
	w.next.version++
	return &ledger.SetStatus{Account: w.anyone(), Version: w.next.version,
		Status: one(w, "status", ledger.StatusActive, ledger.StatusActive, ledger.StatusActive, ledger.StatusActive, ledger.StatusActive, ledger.StatusActive, ledger.StatusLeft, ledger.StatusFrozen)}
}

func (w *twin) command() (ledger.Command, error) {
	bond := func() uint64 { return uint64(w.pick(int64(w.fast.State().BondCount)+2, "bond")) }
	switch k := w.pick(100, "command"); {
	case k < 4:
		return w.enrol(), nil
	case k < 8:
		return w.status(), nil
	case k < 9 && w.slow.Policies() < 30:
		return w.amend()
	case k < 20:
		return w.award(), nil
	case k < 30:
		return w.fund(w.recent()), nil
	case k < 46:
		return w.mint(), nil
	case k < 49:
		return w.close(), nil
	case k < 51:
		return &ledger.Abandon{Contract: w.contract(), Withdrawn: w.chance(2, "withdrawn")}, nil
	case k < 53:
		return &ledger.Accept{Contract: w.contract()}, nil
	case k < 54:
		if !w.chance(3, "recall") {
			return w.mint(), nil
		}
		return w.recall(), nil
	case k < 57:
		return &ledger.Redeem{Serial: bond(), Payee: w.anyone()}, nil
	case k < 60:
		return &ledger.Reissue{Serial: bond(), KeyHash: merkle.Hash{byte(w.pick(200, "key"))}}, nil
	}
	return w.order(), nil
}

// step lets some time pass and does one command; now and then a mint turns out to have
// been wrong many times.
func (w *twin) step() error {
	if w.chance(500, "scandal") {
		for range 30 {
			if err := w.do(w.recall()); err != nil {
				return err
			}
		}
	}
	w.now += one(w, "time", 1, 1, 1, 1000, 1000, 1000, policy.Minute, 10*policy.Minute, policy.Hour, uint64(w.pick(int64(policy.Day), "ms")))
	c, err := w.command()
	if err != nil {
		return err
	}
	return w.do(c)
}

// audited runs all postings again and rebuilds the books from their rows.
func (w *twin) audited() error {
	auditor := ledger.NewAuditor(torq.Standard(), origin, nil)
	for _, p := range w.postings {
		again, err := ledger.DecodePosting(p.Body())
		if err != nil {
			return err
		}
		if err := auditor.Feed(again); err != nil {
			return err
		}
	}
	want := sorted(snapshot(w.fast))
	if !reflect.DeepEqual(sorted(snapshot(auditor.Book())), want) {
		return errors.New("the audit comes to other books")
	}
	if err := w.restore(); err != nil {
		return err
	}
	if !reflect.DeepEqual(sorted(snapshot(w.fast)), want) {
		return errors.New("the rows restore to other books")
	}
	return nil
}

// restore reads the books from their rows, as after a crash.
func (w *twin) restore() error {
	rows := snapshot(w.fast)
	w.fast = ledger.New(torq.Standard(), origin, w)
	return w.fast.Restore(func(yield func(ledger.Row, error) bool) {
		for _, row := range rows {
			row.Value = bytes.Clone(row.Value)
			if !yield(row, nil) {
				return
			}
		}
	})
}

func TestTheReserveAgreesWithSlowBooksThatTouchEveryAccount(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w, err := newTwin(t, lively, func(n int64, label string) int64 { return rapid.Int64Range(0, n-1).Draw(rt, label) })
		if err != nil {
			rt.Fatal(err)
		}
		for i := range rapid.IntRange(1, 60).Draw(rt, "commands") {
			if err := w.step(); err != nil {
				rt.Fatalf("command %d: %v", i, err)
			}
		}
	})
}

// ROBOTORQ_LEDGER_OPS lengthens the runs.
func TestTenThousandCommandsAgreeWithTheSlowBooksAndAreAudited(t *testing.T) {
	for seed, fields := range []string{lively, `{"min_members": 2, "demurrage_per_year": "0.2", "genesis_growth": "0.6", "stake_target": 36000000, "savings_notice": 0, "notice": 0}`} {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(uint64(seed), 7))
			w, err := newTwin(t, fields, func(n int64, _ string) int64 { return random.Int64N(n) })
			if err != nil {
				t.Fatal(err)
			}
			count := operations(t, 10_000)
			for i := range count {
				if err := w.step(); err != nil {
					t.Fatalf("command %d: %v", i, err)
				}
				if i%2500 == 2499 {
					if err := w.restore(); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := w.audited(); err != nil {
				t.Fatal(err)
			}
			if count >= 10_000 {
				w.everythingHappened(t)
			}
		})
	}
}

func (w *twin) everythingHappened(t *testing.T) {
	t.Helper()
	s := w.fast.State()
	stages := map[ledger.Stage]int{}
	for _, c := range w.fast.Contracts() {
		stages[c.Stage]++
	}
	t.Logf("%d postings, %d hours, %d certificates, %d recalled, %d bonds, %d notices; stages %v; done %v; refused %v; within a JT of the funds the two differed %d times, a total by one JT %d times",
		s.Seq, s.Hour-start/policy.Hour, s.Certificates, s.Recalled, s.BondCount, s.Notices, stages, w.done, w.refused, w.slow.Tally().Contradicted, w.slow.Tally().Off)
	kinds := []ledger.Kind{ledger.KindPolicy, ledger.KindEnrol, ledger.KindStatus, ledger.KindOrder, ledger.KindAward, ledger.KindFund, ledger.KindAccept,
		ledger.KindAbandon, ledger.KindMint, ledger.KindClose, ledger.KindRecall, ledger.KindRedeem, ledger.KindReissue}
	if i := slices.IndexFunc(kinds, func(k ledger.Kind) bool { return w.done[k] == 0 }); i >= 0 {
		t.Errorf("no %s ever succeeded", kinds[i])
	}
	for _, p := range w.postings {
		w.done[p.Kind]++
	}
	for _, k := range []ledger.Kind{ledger.KindTick, ledger.KindRelease, ledger.KindMature, ledger.KindEnd, ledger.KindRepay} {
		if w.done[k] == 0 {
			t.Errorf("no %s was ever due", k)
		}
	}
	for _, stage := range []ledger.Stage{ledger.Completed, ledger.Cancelled, ledger.Defaulted} {
		if stages[stage] == 0 {
			t.Errorf("no contract is %s", stage)
		}
	}
	if s.Notices == 0 || s.BondCount == 0 || w.slow.Tally().Compared < 1000 {
		t.Error("too little happened")
	}
}
