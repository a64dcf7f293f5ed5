package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"math/big"

	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/torq"
)

// Run is an operations file run on fresh books: bare movements without time,
// orders, contracts or notice. `ledger replay` is a Run.
type Run struct {
	book    *Book
	rates   hourlyRates
	results []string
}

// Operations of a run.
const (
	RunEnrol    = "enrol"    // ID, Eligible
	RunLeave    = "leave"    // ID: ends a member's eligibility
	RunMint     = "mint"     // one certificate from issuance to disto
	RunTick     = "tick"     // Hours
	RunSend     = "send"     // From, To, Amount
	RunSave     = "save"     // ID, Amount
	RunUnsave   = "unsave"   // ID, Amount: without notice
	RunDividend = "dividend" // Amount
)

// RunOperation is one operation of a run.
type RunOperation struct {
	Op       string
	ID       string
	From, To string
	Amount   torq.JT
	Hours    uint64
	Eligible bool
}

// RunPolicy is what a run reads of a policy; policy bounds do not bind it.
type RunPolicy struct {
	DemurragePerYear  policy.Rate
	SaversShare       policy.Rate
	SavingsCapPerYear policy.Rate
}

// Final is the end state of a run.
type Final struct {
	D              string             `json:"D"`
	U              string             `json:"U"`
	S              string             `json:"S"`
	C              torq.JT            `json:"C"`
	Y              string             `json:"Y"`
	SavingsUnits   string             `json:"savings_units"`
	SavingsControl torq.JT            `json:"savings_control"`
	Accounts       map[string]torq.JT `json:"accounts"`
	Wallets        map[string]torq.JT `json:"wallets"`
	Savings        map[string]torq.JT `json:"savings"` // of those that ever saved
	Results        []string           `json:"results"` // "ok" or an error's code, of each operation
}

// NewRun begins a run.
func NewRun(p RunPolicy) (*Run, error) {
	one, _ := policy.ParseRate("1")
	if p.SaversShare.Cmp(one) > 0 {
		return nil, failf(CodeMalformed, "policy: savers_share %s is more than everything", p.SaversShare)
	}
	q, err := policy.HourlyFactor(p.DemurragePerYear)
	if err != nil {
		return nil, wrapf(CodeMalformed, err, "policy")
	}
	rates := hourlyRates{q: q, saversShare: p.SaversShare, savingsCap: p.SavingsCapPerYear}
	return &Run{book: New(torq.Standard(), "replay", nil), rates: rates}, nil
}

// Book is the run's books, to be looked at.
func (r *Run) Book() *Book { return r.book }

// Do does one operation. Its code is "" when it was done, or that of the refusal; an
// error is a broken invariant.
func (r *Run) Do(op RunOperation) (Code, error) {
	if op.Op == RunTick {
		return r.hours(op.Hours)
	}
	_, err := r.book.perform(false, func() error { return r.step(op) })
	r.book.forget()
	code := CodeOf(err)
	if code == CodeInvariant {
		return code, err
	}
	if code == "" {
		r.results = append(r.results, "ok")
	} else {
		r.results = append(r.results, string(code))
	}
	return code, nil
}

func (r *Run) step(op RunOperation) error {
	b := r.book
	switch op.Op {
	case RunEnrol:
		return b.enrol(op.ID, op.Eligible)
	case RunLeave:
		n, err := b.wallet(op.ID)
		if err != nil {
			return err
		}
		if b.wallets.row(n).flags()&eligible == 0 {
			return failf(CodeNotEligible, "%s receives no dividend", op.ID)
		}
		b.part(n)
		return nil
	case RunMint:
		b.state.Certificates++
		return b.move(accountIssuance, accountDisto, torq.JT(b.profile.CertificateOre()))
	case RunSend:
		return b.send(op.From, op.To, op.Amount)
	case RunSave:
		return b.save(op.ID, op.Amount)
	case RunUnsave:
		return b.unsave(op.ID, op.Amount)
	case RunDividend:
		_, err := b.dividend(op.Amount)
		return err
	}
	return failf(CodeMalformed, "no operation %q", clip(op.Op))
}

// hours makes ticks, each whole: the hour that cannot be made ends them, and those
// before it stay.
func (r *Run) hours(n uint64) (Code, error) {
	var code Code
	for range n {
		before := r.book.state
		_, err := r.book.perform(false, r.hour)
		r.book.forget()
		if code = CodeOf(err); code == CodeInvariant {
			return code, err
		} else if code != "" {
			break
		}
		if after := &r.book.state; after.D == before.D && after.Y == before.Y &&
			after.Wallets == before.Wallets && after.Available == before.Available {
			break // this hour changed nothing, so no later one will
		}
	}
	if code == "" {
		r.results = append(r.results, "ok")
	} else {
		r.results = append(r.results, string(code))
	}
	return code, nil
}

func (r *Run) hour() error {
	if err := r.book.decay(r.rates.q); err != nil {
		return err
	}
	rest, err := r.book.payYield(r.rates)
	if err != nil {
		return err
	}
	return r.book.move(accountDemurrage, accountAvailable, rest)
}

// Final is the state at this point.
func (r *Run) Final() Final {
	s := &r.book.state
	f := Final{
		D: decimal(s.D), U: s.U.String(), S: s.S.String(), C: s.Wallets,
		Y: s.Y.String(), SavingsUnits: s.Units.String(), SavingsControl: s.Savings,
		Accounts: map[string]torq.JT{
			accountIssuance: s.Issuance, accountDisto: s.Disto,
			accountDemurrage: s.Demurrage, accountAvailable: s.Available,
		},
		Wallets: make(map[string]torq.JT), Savings: make(map[string]torq.JT),
		Results: append([]string{}, r.results...),
	}
	for a := range r.book.Accounts() {
		f.Wallets[a.Account] = a.Balance
		if a.Saver {
			f.Savings[a.Account] = a.Savings
		}
	}
	return f
}

// Replay runs an operations file, {"policy": …, "ops": […]}, and returns its end
// state. A `final` in the file is not looked at. The file is read strictly: an
// unknown operation, an unknown, missing or repeated field or a value of another
// type is an error of code [CodeMalformed] that names the operation's index.
func Replay(file io.Reader) (Final, error) {
	data, err := io.ReadAll(file)
	if err != nil {
		return Final{}, wrapf(CodeMalformed, err, "operations file")
	}
	p, operations, err := readRun(data)
	if err != nil {
		return Final{}, err
	}
	r, err := NewRun(p)
	if err != nil {
		return Final{}, err
	}
	for i, op := range operations {
		if _, err := r.Do(op); err != nil {
			return Final{}, wrapf(CodeInvariant, err, "operation %d", i)
		}
	}
	return r.Final(), nil
}

func readRun(data []byte) (RunPolicy, []RunOperation, error) {
	var p RunPolicy
	file, err := readObject(data)
	if err != nil {
		return p, nil, wrapf(CodeMalformed, err, "operations file")
	}
	var rawOps []json.RawMessage
	for name, value := range file {
		switch name {
		case "policy":
			err = readRunPolicy(value, &p)
		case "ops":
			if err = json.Unmarshal(value, &rawOps); err != nil {
				err = wrapf(CodeMalformed, err, "operations file: ops")
			}
		case "final":
		default:
			err = failf(CodeMalformed, "operations file: unknown field %q", clip(name))
		}
		if err != nil {
			return p, nil, err
		}
	}
	if file["policy"] == nil || file["ops"] == nil {
		return p, nil, failf(CodeMalformed, "operations file: needs policy and ops")
	}
	operations := make([]RunOperation, len(rawOps))
	for i, raw := range rawOps {
		if operations[i], err = readRunOperation(raw); err != nil {
			return p, nil, wrapf(CodeMalformed, err, "operation %d", i)
		}
	}
	return p, operations, nil
}

func readRunPolicy(data []byte, p *RunPolicy) error {
	fields, err := readObject(data)
	if err != nil {
		return wrapf(CodeMalformed, err, "operations file: policy")
	}
	for name, into := range map[string]*policy.Rate{
		"demurrage_per_year": &p.DemurragePerYear, "savers_share": &p.SaversShare, "savings_cap_per_year": &p.SavingsCapPerYear,
	} {
		value, found := fields[name]
		if !found {
			return failf(CodeMalformed, "operations file: policy has no %s", name)
		}
		if err := json.Unmarshal(value, into); err != nil {
			return wrapf(CodeMalformed, err, "operations file: policy: %s", name)
		}
		delete(fields, name)
	}
	for name := range fields {
		return failf(CodeMalformed, "operations file: policy has an unknown field %q", clip(name))
	}
	return nil
}

func readRunOperation(raw []byte) (RunOperation, error) {
	var op RunOperation
	fields, err := readObject(raw)
	if err != nil {
		return op, err
	}
	if err := readInto(fields, "op", &op.Op); err != nil {
		return op, err
	}
	known, ok := op.fields()
	if !ok {
		return op, errors.New("unknown op " + clip(op.Op))
	}
	for name, into := range known {
		if err := readInto(fields, name, into); err != nil {
			return op, err
		}
	}
	for name := range fields {
		return op, errors.New("unknown field " + clip(name) + " of " + op.Op)
	}
	if op.Op == RunEnrol {
		if _, _, ok := splitAccount(op.ID); !ok {
			return op, errors.New(clip(op.ID) + " is not member:<id> or org:<id>")
		}
	}
	return op, nil
}

func (op *RunOperation) fields() (map[string]any, bool) {
	switch op.Op {
	case RunEnrol:
		return map[string]any{"id": &op.ID, "eligible": &op.Eligible}, true
	case RunLeave:
		return map[string]any{"id": &op.ID}, true
	case RunMint:
		return nil, true
	case RunTick:
		return map[string]any{"hours": &op.Hours}, true
	case RunSend:
		return map[string]any{"from": &op.From, "to": &op.To, "amount": &op.Amount}, true
	case RunSave, RunUnsave:
		return map[string]any{"id": &op.ID, "amount": &op.Amount}, true
	case RunDividend:
		return map[string]any{"amount": &op.Amount}, true
	}
	return nil, false
}

// readInto reads a field and removes it. An amount beyond 64 bits is more than
// anybody has, or less than nothing.
func readInto(fields map[string]json.RawMessage, name string, into any) error {
	value, found := fields[name]
	if !found {
		return errors.New("no field " + name)
	}
	delete(fields, name)
	if bytes.Equal(value, []byte("null")) {
		return errors.New("field " + name + " is null")
	}
	amount, ok := into.(*torq.JT)
	if !ok {
		return json.Unmarshal(value, into)
	}
	n, ok := new(big.Int).SetString(string(value), 10)
	switch {
	case !ok:
		return errors.New("field " + name + " is not an integer")
	case n.IsInt64():
		*amount = torq.JT(n.Int64())
	case n.Sign() > 0:
		*amount = math.MaxInt64
	default:
		*amount = math.MinInt64
	}
	return nil
}

// readObject reads a JSON object whose fields occur once each, and nothing after it.
func readObject(data []byte) (map[string]json.RawMessage, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	if open, err := decoder.Token(); err != nil || open != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	fields := make(map[string]json.RawMessage)
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, err
		}
		if _, twice := fields[name.(string)]; twice {
			return nil, errors.New("field " + clip(name.(string)) + " occurs twice")
		}
		fields[name.(string)] = value
	}
	if _, err := decoder.Token(); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("something follows the object")
	}
	return fields, nil
}
