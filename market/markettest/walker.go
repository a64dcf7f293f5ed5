// Package markettest walks at random through everything that the marketplace's
// core can do, legal or not, and asserts what must always hold. The same walk runs
// on books in memory and beside them on those in a store.
package markettest

import (
	"errors"
	"fmt"
	"slices"

	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/address"
	"robotorq.org/reserve/market/rails"
)

// Addresses on regtest, one of each kind.
var Addresses = []string{
	"mfWxJ45yp2SFn7UciZyNpvDKrzbhyfKrY8", "2MsFDzHRUAMpjHxKyoEHU3aMCMsVtMqs1PV",
	"bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", "bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry",
	"bcrt1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqc8gma6",
}

// Chooser picks numbers from 0 to n-1.
type Chooser func(n int) int

// Walker does legal and illegal operations on books in memory and checks what must always hold.
type Walker struct {
	t      interface{ Fatalf(string, ...any) }
	Memory *market.Memory
	m      market.Machine
	// Run runs one operation on books; those in memory unless told otherwise. Books that are
	// given instead MUST read and write those in memory too.
	Run      func(op func(market.Books) error) error
	books    market.Books
	pick     Chooser
	now      int64
	serial   int
	tasks    []string
	hashes   []rails.Hash
	sweeps   []string
	chain    map[string]int64 // confirmations of candidates
	outside  int64            // sats that are received and not paid, as the rails would say
	Refused  map[market.Code]int
	Done     map[string]int
	withdraw []string
}

func New(t interface{ Fatalf(string, ...any) }, p market.Policy, pick Chooser) *Walker {
	w := &Walker{t: t, Memory: market.NewMemory(), m: market.Machine{Policy: p}, pick: pick, now: 1_800_000_000_000,
		chain: map[string]int64{}, Refused: map[market.Code]int{}, Done: map[string]int{}}
	w.Run = func(op func(market.Books) error) error { return op(w.Memory) }
	return w
}

func (w *Walker) id(kind string) string { w.serial++; return fmt.Sprintf("%s-%06d", kind, w.serial) }

func (w *Walker) agent() string  { return fmt.Sprintf("robot-%d", w.pick(6)) }
func (w *Walker) client() string { return fmt.Sprintf("client-%d", w.pick(3)) }

// some picks one of a list, mostly of its newest.
func some[T any](w *Walker, all []T) (T, bool) {
	var none T
	if len(all) == 0 {
		return none, false
	}
	newest := all[max(0, len(all)-12):]
	if w.pick(10) == 0 {
		newest = all
	}
	return newest[w.pick(len(newest))], true
}

// task picks a task, mostly one in a state.
func (w *Walker) task(in market.Status) string {
	if w.pick(5) > 0 {
		var fit []string
		for _, id := range w.tasks[max(0, len(w.tasks)-60):] {
			if w.Memory.Tasks[id].Status == in {
				fit = append(fit, id)
			}
		}
		if id, ok := some(w, fit); ok {
			return id
		}
	}
	id, _ := some(w, w.tasks)
	return id
}

// owner is mostly the owner of a task.
func (w *Walker) owner(task string) string {
	if w.pick(5) > 0 {
		return w.Memory.Tasks[task].ClientAccountID
	}
	return w.client()
}

// step does one operation and compares the states before and after.
func (w *Walker) Step() {
	before := map[string]market.Status{}
	for _, id := range w.tasks[max(0, len(w.tasks)-200):] {
		before[id] = w.Memory.Tasks[id].Status
	}
	postings := len(w.Memory.Postings)
	name := w.Names()[w.pick(len(w.Names()))]
	err := w.Run(func(b market.Books) error {
		w.books = b
		return w.operations()[name](w)
	})
	var refusal *market.Error
	switch {
	case err == nil:
		w.Done[name]++
	case errors.As(err, &refusal):
		w.Refused[refusal.Code]++
		if len(w.Memory.Postings) != postings {
			w.t.Fatalf("%s was refused (%v) and moved sats", name, err)
		}
	default:
		w.t.Fatalf("%s: %v", name, err)
	}
	for id, from := range before {
		to := w.Memory.Tasks[id].Status
		if from != to && !w.legal(from, to) {
			w.t.Fatalf("%s moved task %s from %s to %s", name, id, from, to)
		}
		if refusal != nil && from != to {
			w.t.Fatalf("%s was refused (%v) and moved task %s to %s", name, err, id, to)
		}
	}
	totals, _ := w.Memory.Totals()
	if err := totals.Check(); err != nil {
		w.t.Fatalf("after %s: %v", name, err)
	}
	if have := totals.Liabilities() + totals[market.ClassFees]; have != w.outside {
		w.t.Fatalf("after %s the books hold %d, received less paid is %d", name, have, w.outside)
	}
}

// legal tells whether one or two steps lead from a state to another: giving back passes refunding.
func (w *Walker) legal(from, to market.Status) bool {
	if market.Legal(from, to) {
		return true
	}
	for _, mid := range []market.Status{market.Funded, market.Refunding} {
		if market.Legal(from, mid) && market.Legal(mid, to) {
			return true
		}
	}
	return false
}

func (w *Walker) Names() []string {
	return []string{"register", "heartbeat", "create", "create", "pay", "pay", "pay", "cancel invoice", "cancel", "claim", "claim", "claim", "prove", "prove", "prove",
		"settle", "settle", "dispute", "resolve", "tick", "tick", "time", "guard", "withdraw", "withdraw chain", "sent", "bind", "record", "record", "said", "see", "see", "lose", "release", "set aside"}
}

func (w *Walker) operations() map[string]func(*Walker) error {
	return map[string]func(*Walker) error{
		"register": (*Walker).register, "heartbeat": (*Walker).heartbeat, "create": (*Walker).create, "pay": (*Walker).pay,
		"cancel invoice": (*Walker).cancelInvoice, "cancel": (*Walker).cancel, "claim": (*Walker).claim, "prove": (*Walker).prove,
		"settle": (*Walker).settle, "dispute": (*Walker).dispute, "resolve": (*Walker).resolve, "tick": (*Walker).tick,
		"time": func(w *Walker) error {
			w.now += int64(w.pick(4)) * 60_000
			if w.pick(60) == 0 {
				w.now += int64(w.pick(15)) * 86_400_000
			}
			return nil
		},
		"guard": (*Walker).guard, "withdraw": (*Walker).withdrawLightning, "withdraw chain": (*Walker).withdrawChain, "sent": (*Walker).sent,
		"bind": (*Walker).bind, "record": (*Walker).record, "said": (*Walker).said, "see": (*Walker).see, "lose": (*Walker).lose,
		"release": (*Walker).release, "set aside": (*Walker).setAside,
	}
}

func (w *Walker) register() error {
	agent := w.agent()
	key := make([]byte, 32)
	copy(key, agent)
	if w.pick(20) == 0 {
		key[31] = 1 // of another
	}
	_, err := w.m.Register(w.books, market.Registration{AgentID: agent, PayoutAddress: Addresses[w.pick(len(Addresses))], Capabilities: []string{"camera", "gps"}[:1+w.pick(2)], RobotKind: "rover", PublicKey: key}, w.now)
	return err
}

func (w *Walker) heartbeat() error {
	_, err := w.m.Heartbeat(w.books, w.agent(), nil, w.now)
	return err
}

func (w *Walker) create() error {
	t, err := w.m.Prepare(market.Task{ClientAccountID: w.client(), Title: "t", TaskKind: "physical", ResourceRequirements: []string{"camera", "gps"}[:w.pick(3)],
		EscrowSats: 1 + int64(w.pick(200_000)), Relist: w.pick(2) == 0, EscrowMode: []market.EscrowMode{"", market.ModeHold, market.ModeAccount}[w.pick(3)]}, w.now)
	if err != nil {
		return err
	}
	t.TaskID = w.id("task")
	n := market.NewTask{Task: t}
	copy(n.Hash[:], t.TaskID)
	n.Task.PaymentHash = fmt.Sprintf("%x", n.Hash)
	if _, err := w.m.Create(w.books, n, w.now); err != nil {
		return err
	}
	w.tasks = append(w.tasks, t.TaskID)
	if t.EscrowMode != market.ModeAccount {
		w.hashes = append(w.hashes, n.Hash)
	}
	return nil
}

// pay shows an invoice as held or settled, sometimes again and sometimes with more.
func (w *Walker) pay() error {
	h, ok := some(w, w.hashes)
	if !ok {
		return nil
	}
	note := w.Memory.Invoices[h]
	t := w.Memory.Tasks[note.TaskID]
	paid := max(note.AmountSats, note.CountedSats)
	if w.pick(8) == 0 {
		paid += int64(w.pick(1000))
	}
	state := rails.InvoiceSettled
	if t.EscrowMode == market.ModeHold && t.EscrowState == market.EscrowUnpaid && t.Status == market.PendingFunding {
		state = rails.InvoiceHeld
	} else if t.EscrowMode == market.ModeHold && t.EscrowState != market.EscrowCapturing && note.CountedSats == 0 {
		return nil // only the coordinator settles a hold
	}
	if _, err := w.m.Paid(w.books, rails.Invoice{Hash: h, State: state, PaidSats: paid, ExpiryHeight: 1_000}, w.now); err != nil {
		return err
	}
	if state == rails.InvoiceSettled {
		w.outside += paid - note.CountedSats
	}
	return nil
}

func (w *Walker) cancelInvoice() error {
	h, ok := some(w, w.hashes)
	if !ok || w.Memory.Invoices[h].CountedSats > 0 || w.pick(3) > 0 {
		return nil
	}
	_, err := w.m.Paid(w.books, rails.Invoice{Hash: h, State: rails.InvoiceCancelled}, w.now)
	return err
}

func (w *Walker) cancel() error {
	id := w.task(market.Funded)
	_, err := w.m.Cancel(w.books, id, w.owner(id), w.now)
	return err
}

func (w *Walker) claim() error {
	id := w.task(market.Funded)
	_, err := w.m.Claim(w.books, id, w.agent(), w.now)
	return err
}

func (w *Walker) prove() error {
	id := w.task(market.Claimed)
	agent := w.Memory.Tasks[id].ClaimedBy
	if w.pick(6) == 0 {
		agent = w.agent()
	}
	_, err := w.m.Prove(w.books, id, market.Proof{AgentID: agent, Payload: []byte(`{}`)}, w.now)
	return err
}

func (w *Walker) settle() error {
	id := w.task(market.ProofSubmitted)
	_, err := w.m.Settle(w.books, id, w.owner(id), w.id("entry"), w.now)
	return err
}

func (w *Walker) dispute() error {
	id := w.task(market.ProofSubmitted)
	_, err := w.m.Dispute(w.books, id, w.owner(id), "no", w.now)
	return err
}

func (w *Walker) resolve() error {
	id := w.task(market.Disputed)
	outcome := []market.Outcome{market.OutcomePay, market.OutcomeRefund, market.OutcomeSplit}[w.pick(3)]
	_, err := w.m.Resolve(w.books, id, market.Resolution{Outcome: outcome, RobotSats: int64(w.pick(int(w.Memory.Tasks[id].RewardSats) + 1))}, w.id("entry"), w.now)
	return err
}

func (w *Walker) tick() error {
	id, ok := some(w, w.tasks)
	if !ok {
		return nil
	}
	_, err := w.m.Tick(w.books, id, w.id("entry"), w.now)
	return err
}

func (w *Walker) guard() error {
	id, ok := some(w, w.tasks)
	if !ok {
		return nil
	}
	_, err := w.m.Guard(w.books, id, int64(900+w.pick(200)), w.now)
	return err
}

func (w *Walker) withdrawLightning() error {
	r := rails.PaymentRequest{AmountSats: int64(w.pick(50_000)), ExpiresAtMs: w.now + 1000}
	copy(r.Hash[:], w.id("w"))
	if known, ok := some(w, w.withdraw); ok && w.pick(4) == 0 {
		copy(r.Hash[:], known) // one that is there already, in raw bytes it is another
	}
	wd, fresh, err := w.m.WithdrawLightning(w.books, w.client(), "lnbcrt1", r, w.now)
	if err == nil && fresh {
		w.withdraw = append(w.withdraw, wd.WithdrawalID)
	}
	return err
}

func (w *Walker) sent() error {
	id, ok := some(w, w.withdraw)
	if !ok {
		return nil
	}
	wd := w.Memory.Withdrawals[id]
	p := rails.Payment{State: []rails.PaymentState{rails.PaymentInFlight, rails.PaymentFailed, rails.PaymentSucceeded}[w.pick(3)], FeeSats: int64(w.pick(int(wd.FeeLimitSats) + 1))}
	after, err := w.m.Sent(w.books, id, p, w.now)
	if err == nil && wd.State == market.WithdrawalSending && after.State == market.WithdrawalPaid {
		w.outside -= wd.AmountSats + p.FeeSats
	}
	return err
}

func (w *Walker) withdrawChain() error {
	_, err := w.m.WithdrawChain(w.books, w.client(), Addresses[w.pick(len(Addresses))], int64(w.pick(30_000)), w.id("chain"), w.now)
	return err
}

func (w *Walker) bind() error {
	s, _, err := w.m.Bind(w.books, w.id("sweep"), w.pick(3) == 0, rails.FeeRate(1_000+w.pick(20_000)), w.now)
	if err == nil && s.SweepID != "" {
		w.sweeps = append(w.sweeps, s.SweepID)
	}
	return err
}

// record makes a transaction that fits, or one that does not.
func (w *Walker) record() error {
	id, ok := some(w, w.sweeps)
	if !ok {
		return nil
	}
	s, _, _ := w.Memory.Sweep(id)
	n := len(s.Candidates)
	built := rails.Built{Raw: []byte(w.id("raw")), Txid: w.id("tx"), Outputs: market.Outputs(s.Payouts), FeeSats: int64(100 + 200*n + w.pick(200)), VSize: 200,
		Inputs: []rails.Outpoint{{Txid: id, Vout: 0}, {Txid: w.id("in")}}}
	if s.PayeesPay && n == 0 && len(built.Outputs) > 0 {
		built.FeeSats = int64(len(built.Outputs)) * int64(50+w.pick(100))
		for i := range built.Outputs {
			built.Outputs[i].Sats -= built.FeeSats / int64(len(built.Outputs))
		}
	} else if s.PayeesPay && n > 0 && len(built.Outputs) > 0 {
		built.Outputs[0].Sats -= s.TotalSats - s.Candidates[0].OutSats // may not fit: then it is refused
	}
	switch w.pick(12) {
	case 0:
		built.Inputs = built.Inputs[1:]
	case 1:
		if len(built.Outputs) > 0 {
			built.Outputs[0].Sats++
		}
	}
	_, err := w.m.Record(w.books, id, built, 1_000, w.now)
	return err
}

func (w *Walker) said() error {
	id, ok := some(w, w.sweeps)
	if !ok {
		return nil
	}
	s := w.Memory.Sweeps[id]
	if len(s.Candidates) == 0 {
		return nil
	}
	c := s.Candidates[w.pick(len(s.Candidates))]
	states := []rails.BroadcastState{rails.InMempool, rails.InMempool, rails.Replaced, rails.InputsMissing, rails.NonFinal, rails.Rejected}
	_, err := w.m.Said(w.books, id, c.Txid, rails.Broadcast{State: states[w.pick(len(states))]}, w.pick(5) > 0, w.now)
	return err
}

// see lets one candidate of a sweep gain or lose blocks.
func (w *Walker) see() error {
	id, ok := some(w, w.sweeps)
	if !ok {
		return nil
	}
	s := w.Memory.Sweeps[id]
	if len(s.Candidates) == 0 || !s.State.Live() {
		return nil
	}
	i := slices.IndexFunc(s.Candidates, func(c market.Candidate) bool { return w.chain[c.Txid] > 0 })
	if i < 0 {
		i = w.pick(len(s.Candidates))
	}
	c := s.Candidates[i]
	w.chain[c.Txid] = max(0, w.chain[c.Txid]+int64(w.pick(4))-1)
	after, err := w.m.See(w.books, id, []rails.Transaction{{Txid: c.Txid, InMempool: w.chain[c.Txid] == 0 && w.pick(3) > 0, Confirmations: w.chain[c.Txid]}}, w.now)
	if err == nil && after.State == market.SweepFinal {
		w.outside -= c.OutSats + c.FeeSats
		if w.chain[c.Txid] < market.FinalDepth {
			w.t.Fatalf("sweep %s is final after %d blocks", id, w.chain[c.Txid])
		}
	}
	return err
}

func (w *Walker) lose() error {
	id, ok := some(w, w.sweeps)
	if !ok || w.pick(4) > 0 {
		return nil
	}
	before := w.Memory.Sweeps[id]
	depth := int64(w.pick(10))
	after, err := w.m.Lose(w.books, id, []market.Spend{{Input: rails.Outpoint{Txid: id}, By: "foreign", Confirmations: depth}}, w.now)
	if err == nil && before.State.Live() && after.State == market.SweepLost && depth < market.FinalDepth {
		w.t.Fatalf("sweep %s was given up after %d blocks", id, depth)
	}
	return err
}

func (w *Walker) release() error {
	id, _ := some(w, w.sweeps)
	if w.pick(3) > 0 {
		return nil
	}
	_, err := w.m.Release(w.books, id, "no coins", w.now)
	return err
}

func (w *Walker) setAside() error {
	id, _ := some(w, w.sweeps)
	_, err := w.m.SetAside(w.books, id, w.pick(3), "bad", w.now)
	return err
}

// audit recomputes everything.
func (w *Walker) Audit() {
	if err := market.Audit(w.Memory.Facts()); err != nil {
		w.t.Fatalf("%v", err)
	}
}

// prune forgets final tasks that nothing refers to, but some.
func (w *Walker) Prune() {
	kept := w.tasks[:0]
	for i, id := range w.tasks {
		if w.Memory.Tasks[id].Status.Final() && i < len(w.tasks)-100 && i%10 > 0 {
			delete(w.Memory.Tasks, id)
			continue
		}
		kept = append(kept, id)
	}
	w.tasks = kept
	for id, e := range w.Memory.Entries {
		if w.Memory.Sweeps[e.SweepID].State == market.SweepFinal {
			delete(w.Memory.Entries, id)
		}
	}
	w.hashes = slices.DeleteFunc(w.hashes, func(h rails.Hash) bool { _, ok := w.Memory.Tasks[w.Memory.Invoices[h].TaskID]; return !ok })
}

// Policy is the defaults with small numbers, so that a walk goes everywhere.
func Policy() market.Policy {
	p := market.Defaults(address.Regtest)
	p.MinSweepSats, p.MaxActiveClaims, p.StrikeWaitMs = 1_000, 50, 1_000
	p.HeartbeatMaxAgeMs = 365 * 24 * 3_600_000
	return p
}
