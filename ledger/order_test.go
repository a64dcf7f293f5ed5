package ledger_test

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/seal"
)

func everyOperation() []ledger.Operation {
	return []ledger.Operation{
		{Kind: ledger.OpSend, To: "member:bob", Amount: 1<<53 - 1, Memo: "für das Brot"},
		{Kind: ledger.OpSend, To: "org:acme", Amount: 0},
		{Kind: ledger.OpSave, Amount: 23},
		{Kind: ledger.OpLeave, Amount: 24},
		{Kind: ledger.OpBond, Amount: 256, Hash: merkle.Hash{1, 2, 3}},
		{Kind: ledger.OpInvest, To: origin + "#7", Amount: 65536},
		{Kind: ledger.OpObject, Hash: merkle.Hash{4, 5, 6}},
	}
}

func sampleOrder() ledger.Order {
	return ledger.Order{Origin: origin, From: "member:ada", ID: [16]byte{1, 2, 3}, Created: start, Expires: start + 1000, Operations: everyOperation()}
}

func TestAnOrderComesBackFromItsPayload(t *testing.T) {
	want := sampleOrder()
	got, err := ledger.DecodeOrder(want.Encode())
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestAnOrderOutOfFormIsRefused(t *testing.T) {
	good := sampleOrder()
	payload := good.Encode()
	for name, c := range map[string]struct {
		bytes []byte
		code  ledger.Code
	}{
		"nothing":             {nil, ledger.CodeMalformed},
		"something after":     {append(bytes.Clone(payload), 0), ledger.CodeMalformed},
		"cut off":             {payload[:len(payload)-1], ledger.CodeMalformed},
		"a longer head":       {append([]byte{0x98, 6}, payload[1:]...), ledger.CodeMalformed},
		"no operations":       {with(good, func(o *ledger.Order) { o.Operations = nil }), ledger.CodeTooManyOperations},
		"a stranger's class":  {with(good, func(o *ledger.Order) { o.From = "savings:ada" }), ledger.CodeMalformed},
		"an upper-case id":    {with(good, func(o *ledger.Order) { o.From = "member:Ada" }), ledger.CodeMalformed},
		"a late time":         {with(good, func(o *ledger.Order) { o.Expires = 1 << 48 }), ledger.CodeMalformed},
		"an unknown kind":     {with(good, func(o *ledger.Order) { o.Operations[2].Kind = "steal" }), ledger.CodeMalformed},
		"too long a memo":     {with(good, func(o *ledger.Order) { o.Operations[0].Memo = string(make([]byte, 257)) }), ledger.CodeMalformed},
		"too large an amount": {with(good, func(o *ledger.Order) { o.Operations[2].Amount = 1 << 53 }), ledger.CodeMalformed},
	} {
		if _, err := ledger.DecodeOrder(c.bytes); ledger.CodeOf(err) != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	many := good
	many.Operations = make([]ledger.Operation, 1001)
	for i := range many.Operations {
		many.Operations[i] = ledger.Operation{Kind: ledger.OpSave, Amount: 1}
	}
	if _, err := ledger.DecodeOrder(many.Encode()); ledger.CodeOf(err) != ledger.CodeTooManyOperations {
		t.Errorf("1,001 operations: %v", err)
	}
	many.Operations = many.Operations[:1000]
	if _, err := ledger.DecodeOrder(many.Encode()); err != nil {
		t.Errorf("1,000 operations: %v", err)
	}
}

func with(o ledger.Order, change func(*ledger.Order)) []byte {
	o.Operations = everyOperation()
	change(&o)
	return o.Encode()
}

// signer is a member's or an organisation's keys.
func signer(t *testing.T, name, role string) (*seal.Signer, []seal.Key) {
	t.Helper()
	s := &seal.Signer{Name: name, Role: role}
	var keys []seal.Key
	for _, alg := range seal.RequiredAlgorithms(role) {
		k, err := seal.GenerateKey(alg)
		if err != nil {
			t.Fatal(err)
		}
		s.Keys = append(s.Keys, k)
		keys = append(keys, seal.NewKey(name, role, alg, k.Public, start-1000))
	}
	return s, keys
}

func TestAnOrderCountsWhenItsAccountSignedItInTime(t *testing.T) {
	ada, adaKeys := signer(t, "ada", seal.RoleMember)
	bob, bobKeys := signer(t, "bob", seal.RoleMember)
	org, orgKeys := signer(t, "ada", seal.RoleOrg)
	o := sampleOrder()
	sign := func(s *seal.Signer, payloadType string, payload []byte) seal.Envelope {
		env, err := s.Sign(payloadType, payload)
		if err != nil {
			t.Fatal(err)
		}
		return env
	}
	env := sign(ada, ledger.TypeOrder, o.Encode())
	half := env
	half.Signatures = env.Signatures[:1]
	all := append(append(append([]seal.Key{}, adaKeys...), bobKeys...), orgKeys...)
	for name, c := range map[string]struct {
		env    seal.Envelope
		origin string
		keys   []seal.Key
		now    uint64
		code   ledger.Code
	}{
		"by its account":           {env, origin, all, start, ""},
		"by another":               {sign(bob, ledger.TypeOrder, o.Encode()), origin, all, start, ledger.CodeBadSignature},
		"by the org of that id":    {sign(org, ledger.TypeOrder, o.Encode()), origin, all, start, ledger.CodeBadSignature},
		"by one algorithm":         {half, origin, all, start, ledger.CodeBadSignature},
		"for another reserve":      {env, "other.example", all, start, ledger.CodeBadSignature},
		"before its keys":          {env, origin, all, start - 2000, ledger.CodeBadSignature},
		"too late":                 {env, origin, all, start + 1000, ledger.CodeExpired},
		"by an account unenrolled": {env, origin, bobKeys, start, ledger.CodeUnknownAccount},
		"as another artefact":      {sign(ada, "application/vnd.robotorq.report.v1+cbor", o.Encode()), origin, all, start, ledger.CodeMalformed},
	} {
		got, err := ledger.CheckOrder(c.env, c.origin, c.keys, c.now)
		if ledger.CodeOf(err) != c.code || (c.code == "" && (err != nil || !reflect.DeepEqual(got, o))) {
			t.Errorf("%s: %v, want %q", name, err, c.code)
		}
	}
	_, err := ledger.CheckOrder(half, origin, all, start)
	var cause *seal.Error
	if !errors.As(err, &cause) || cause.Code != seal.CodeDowngraded {
		t.Errorf("the cause is not told: %v", err)
	}
}

func FuzzDecodeOrder(f *testing.F) {
	o := sampleOrder()
	f.Add(o.Encode())
	for _, op := range o.Operations {
		o.Operations = []ledger.Operation{op}
		f.Add(o.Encode())
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		o, err := ledger.DecodeOrder(payload)
		if err != nil {
			var typed *ledger.Error
			if !errors.As(err, &typed) {
				t.Fatalf("an error without a code: %v", err)
			}
			return
		}
		if !bytes.Equal(o.Encode(), payload) {
			t.Fatal("accepted an order that does not re-encode to itself")
		}
	})
}

func FuzzDecodePosting(f *testing.F) {
	r := exampleReserve(f)
	r.advance(2 * 3_600_000)
	r.must(r.order("member:ada", ledger.Operation{Kind: ledger.OpSend, To: "member:bob", Amount: 5}))
	for _, p := range r.postings {
		if len(p.Command) < 1<<12 {
			f.Add(p.Body())
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := ledger.DecodePosting(body)
		if err != nil {
			return
		}
		if !bytes.Equal(p.Body(), body) || p.Hash != seal.Digest(ledger.TypePosting, body) {
			t.Fatal("accepted a posting that does not re-encode to itself")
		}
		c, err := ledger.DecodeCommand(p.Command)
		if err != nil {
			return
		}
		again, err := ledger.EncodeCommand(c)
		if err != nil || !bytes.Equal(again, p.Command) {
			t.Fatal("accepted a command that does not re-encode to itself")
		}
		_ = c.Key()
	})
}
