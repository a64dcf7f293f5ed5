package market_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/address"
	"robotorq.org/reserve/market/markettest"
	"robotorq.org/reserve/market/rails"
)

const t0 = 1_800_000_000_000

// desk is a machine with books in memory and one robot.
type desk struct {
	market.Machine
	b *market.Memory
	t testing.TB
}

func newDesk(t testing.TB) *desk {
	t.Helper()
	d := &desk{market.Machine{Policy: market.Defaults(address.Regtest)}, market.NewMemory(), t}
	d.robot("rover", "camera", "gps")
	t.Cleanup(func() {
		if err := market.Audit(d.b.Facts()); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *desk) robot(id string, capabilities ...string) {
	d.t.Helper()
	key := make([]byte, 32)
	copy(key, id)
	if _, err := d.Register(d.b, market.Registration{AgentID: id, PayoutAddress: markettest.Addresses[2], Capabilities: capabilities, RobotKind: "rover", PublicKey: key}, t0); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) funded(id string, needs ...string) market.Task {
	d.t.Helper()
	t, err := d.Prepare(market.Task{ClientAccountID: "alice", Title: "t", TaskKind: "hybrid", ResourceRequirements: needs, EscrowSats: 100_000}, t0)
	if err != nil {
		d.t.Fatal(err)
	}
	t.TaskID = id
	n := market.NewTask{Task: t}
	copy(n.Hash[:], id)
	if _, err := d.Create(d.b, n, t0); err != nil {
		d.t.Fatal(err)
	}
	if t, err = d.Paid(d.b, rails.Invoice{Hash: n.Hash, State: rails.InvoiceSettled, PaidSats: 100_000}, t0); err != nil || t.Status != market.Funded {
		d.t.Fatalf("%s, %v", t.Status, err)
	}
	return t
}

func want(t testing.TB, err error, code market.Code) {
	t.Helper()
	if market.CodeOf(err) != code || code == "" && err != nil {
		t.Fatalf("got %v, want %q", err, code)
	}
}

func TestRewardAndFeeAreTheEscrowForEveryAmountAndRate(t *testing.T) {
	check := func(amount, bps int64) {
		fee := market.Fee(amount, bps)
		if exact := amount * bps; fee*10_000 > exact || exact-fee*10_000 >= 10_000 || fee < 0 || fee > amount {
			t.Fatalf("%d sats at %d bps: fee %d", amount, bps, fee)
		}
	}
	for bps := int64(0); bps <= market.MaxBps; bps++ {
		for _, amount := range []int64{1, 2, 49, 50, 51, 9_999, 10_000, 10_001, 99_999_999, market.MaxAmountSats} {
			check(amount, bps)
		}
	}
	rapid.Check(t, func(r *rapid.T) {
		check(rapid.Int64Range(1, market.MaxAmountSats).Draw(r, "sats"), rapid.Int64Range(0, market.MaxBps).Draw(r, "bps"))
	})
}

func TestAClaimIsCheckedInTheOrderNotFoundStateAgentCapability(t *testing.T) {
	d := newDesk(t)
	d.robot("blind")
	open, taken := d.funded("open", "camera"), d.funded("taken")
	if _, err := d.Claim(d.b, taken.TaskID, "rover", t0); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		task, agent string
		now         int64
		code        market.Code
	}{
		{"none", "nobody", t0, market.CodeTaskNotFound},
		{taken.TaskID, "nobody", t0, market.CodeTaskNotClaimable},
		{taken.TaskID, "rover", t0, market.CodeTaskNotClaimable},
		{open.TaskID, "nobody", t0, market.CodeAgentNotRegistered},
		{open.TaskID, "blind", t0 + 5*60_000 + 1, market.CodeAgentNotSeen},
		{open.TaskID, "blind", t0, market.CodeCapabilityMismatch},
		{open.TaskID, "rover", t0 + 5*60_000, ""}, // the oldest sign of life that counts
	} {
		_, err := d.Claim(d.b, c.task, c.agent, c.now)
		want(t, err, c.code)
	}
}

func TestEachExpiryDoublesTheWaitBeforeTheNextClaim(t *testing.T) {
	d := newDesk(t)
	now := int64(t0)
	for i, wait := range []int64{60_000, 120_000, 240_000, 480_000} {
		id := fmt.Sprint("task", i)
		d.funded(id)
		if _, err := d.Heartbeat(d.b, "rover", nil, now); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Claim(d.b, id, "rover", now); err != nil {
			t.Fatal(err)
		}
		now += 3_600_001
		if got, err := d.Tick(d.b, id, "e", now); err != nil || got.Status != market.Expired {
			t.Fatalf("%s, %v", got.Status, err)
		}
		if got := d.b.Agents["rover"].NextClaimAtMs - now; got != wait {
			t.Fatalf("after %d expiries the wait is %d ms, want %d", i+1, got, wait)
		}
		now = d.b.Agents["rover"].NextClaimAtMs
	}
}

func TestAProofCountsAtItsDeadlineAndNotAMillisecondLater(t *testing.T) {
	for _, late := range []int64{0, 1} {
		d := newDesk(t)
		d.funded("task")
		if _, err := d.Claim(d.b, "task", "rover", t0); err != nil {
			t.Fatal(err)
		}
		_, err := d.Prove(d.b, "task", market.Proof{AgentID: "other", Payload: []byte(`{}`)}, t0)
		want(t, err, market.CodeNotClaimedByAgent)
		_, err = d.Prove(d.b, "task", market.Proof{AgentID: "rover", Payload: make([]byte, market.MaxProof+1)}, t0)
		want(t, err, market.CodeProofTooLarge)
		_, err = d.Prove(d.b, "task", market.Proof{AgentID: "rover", Payload: []byte(`{}`)}, t0+3_600_000+late)
		if late == 0 {
			want(t, err, "")
		} else {
			want(t, err, market.CodeDeadlinePassed)
		}
		if _, err := d.Tick(d.b, "task", "e", t0+3_600_000); err != nil || d.b.Tasks["task"].Status == market.Expired {
			t.Fatalf("expired at its deadline: %v", err)
		}
	}
}

func TestAnAgentIdBelongsToTheKeyOfItsFirstRegistration(t *testing.T) {
	d := newDesk(t)
	_, err := d.Register(d.b, market.Registration{AgentID: "rover", PayoutAddress: markettest.Addresses[0], Capabilities: nil, RobotKind: "x", PublicKey: make([]byte, 32)}, t0)
	want(t, err, market.CodeNotYourAgent)
}

func TestWhereTheOperatorAsksForAdmissionARobotWaitsForIt(t *testing.T) {
	d := newDesk(t)
	d.Policy.Admission = true
	d.robot("new", "camera")
	d.funded("task")
	_, err := d.Claim(d.b, "task", "new", t0)
	want(t, err, market.CodeAgentNotAdmitted)
	if _, err := d.Admit(d.b, "new", true); err != nil {
		t.Fatal(err)
	}
	_, err = d.Claim(d.b, "task", "new", t0)
	want(t, err, "")
}

func TestAReplacementMustShareAnInputAndPayTheSame(t *testing.T) {
	d := newDesk(t)
	d.funded("task")
	for _, step := range []func() error{
		func() error { _, err := d.Claim(d.b, "task", "rover", t0); return err },
		func() error {
			_, err := d.Prove(d.b, "task", market.Proof{AgentID: "rover", Payload: []byte(`{}`)}, t0)
			return err
		},
		func() error { _, err := d.Settle(d.b, "task", "alice", "entry", t0); return err },
		func() error { _, _, err := d.Bind(d.b, "sweep", false, 1_000, t0); return err },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	in := func(names ...string) (out []rails.Outpoint) {
		for _, n := range names {
			out = append(out, rails.Outpoint{Txid: n})
		}
		return out
	}
	built := func(txid string, fee, sats int64, inputs ...string) rails.Built {
		return rails.Built{Raw: []byte(txid), Txid: txid, Inputs: in(inputs...), FeeSats: fee, Outputs: []rails.Output{{Address: markettest.Addresses[2], Sats: sats}}}
	}
	for _, c := range []struct {
		built rails.Built
		ok    bool
	}{
		{built("other amount", 100, 97_999, "a"), false},
		{built("above the cap", 2_001, 98_000, "a"), false},
		{built("first", 100, 98_000, "a", "b"), true},
		{built("first", 100, 98_000, "a", "b"), false},
		{built("no common input", 200, 98_000, "c"), false},
		{built("second", 200, 98_000, "b", "c"), true},
		{built("not in common with all", 300, 98_000, "a"), false},
		{built("third", 2_000, 98_000, "b"), true},
	} {
		_, err := d.Record(d.b, "sweep", c.built, 1_000, t0)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.built.Txid, err)
		}
	}
	_, err := d.Release(d.b, "sweep", "no", t0)
	want(t, err, market.CodeSweepState)
}

func TestASchemaIsBounded(t *testing.T) {
	wide := `{"allOf":[` + strings.TrimSuffix(strings.Repeat(`{"type":"object"},`, 3_000), ",") + `]}`
	for name, text := range map[string]string{
		"another draft": `{"$schema":"http://json-schema.org/draft-07/schema#"}`, "elsewhere": `{"$ref":"other.json"}`, "an anchor": `{"$ref":"#x"}`,
		"nothing": `{"$ref":"#/nothing"}`, "itself": `{"$ref":"#"}`, "wide": wide, "deep": strings.Repeat(`{"not":`, 33) + `{}` + strings.Repeat("}", 33),
		"dynamic": `{"$dynamicRef":"#x"}`, "no schema": `[1]`, "bad type": `{"type":"car"}`, "twice": `{"type":"object","type":"array"}`, "back": `{"pattern":"(a)\\1"}`,
	} {
		if _, err := market.CompileSchema([]byte(text)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	s, err := market.CompileSchema([]byte(`{"type":"array","items":{"allOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/a"}]},"$defs":{"a":{"type":"integer"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if f := s.Check([]byte(`[1,"x"]`)); len(f) == 0 || !strings.HasPrefix(f[0], "payload/1: ") {
		t.Errorf("faults: %q", f)
	}
	if f := s.Check([]byte(`[1,9007199254740993]`)); f != nil {
		t.Errorf("faults: %q", f)
	}
	for _, bad := range []string{``, `{`, `{} {}`, strings.Repeat("[", 33) + strings.Repeat("]", 33), `[1,]`, `{"a":1,"a":2}`} {
		if f := s.Check([]byte(bad)); len(f) != 1 {
			t.Errorf("%.20q: %q", bad, f)
		}
	}
	big, err := market.CompileSchema([]byte(`{"items":{"allOf":[` + strings.TrimSuffix(strings.Repeat(`{"minimum":0},`, 600), ",") + `]}}`))
	if err != nil {
		t.Fatal(err)
	}
	if f := big.Check([]byte("[" + strings.TrimSuffix(strings.Repeat("1,", 200_000), ",") + "]")); len(f) != 1 || !strings.Contains(f[0], "too large") {
		t.Errorf("a proof that would take minutes: %.200q", f)
	}
}

func TestOnlyPublicAddressesAreCalled(t *testing.T) {
	for text, public := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1111": true, "127.0.0.1": false, "10.1.2.3": false, "172.20.0.1": false, "192.168.1.1": false, "169.254.169.254": false,
		"100.64.0.1": false, "0.0.0.0": false, "224.0.0.1": false, "255.255.255.255": false, "::1": false, "fe80::1": false, "fc00::1": false, "::ffff:127.0.0.1": false,
		"::ffff:8.8.8.8": true, "64:ff9b::7f00:1": false, "2002:7f00:1::": false, "::": false,
	} {
		if got := market.Public(netip.MustParseAddr(text)); got != public {
			t.Errorf("%s: public %v", text, got)
		}
	}
}

func FuzzCompileSchema(f *testing.F) {
	f.Add([]byte(`{"type":"object","properties":{"a":{"$ref":"#/$defs/b"}},"$defs":{"b":{"pattern":"^a+$"}}}`), []byte(`{"a":"aa"}`))
	f.Add([]byte(`true`), []byte(`[[1]]`))
	f.Add([]byte(`{"$ref":"#/a~1b"}`), []byte(`"x"`))
	f.Fuzz(func(t *testing.T, schema, payload []byte) {
		s, err := market.CompileSchema(schema)
		if err == nil && s.Check(payload) == nil && !json.Valid(payload) {
			t.Fatalf("%q passed", payload)
		}
	})
}
