package apitest

import (
	"context"
	"encoding/hex"
	"encoding/json"

	"github.com/fxamacker/cbor/v2"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/torq"
)

func enterprise(contract uint64) string {
	return []string{"harbour-works", "open-orthotics", "seed-vault", "tram-parts", "well-pumps"}[contract%5]
}

func (r *Fake) contract(n uint64) api.Contract {
	c := api.Contract{
		Number: n, Enterprise: enterprise(n), Owner: "printers-guild", Robots: r.Fleet[:3+n%4], Digger: "digger", Refinery: "refinery",
		Work: n * 18 * orePerCert, Stake: torq.JT(n * 4 * orePerCert), VaultPart: torq.JT(n * 3 * orePerCert), Release: "uniform, 10 minutes", ToMarket: 30 * minute,
		Funded: r.Now - 40*minute, Deadline: r.Now + 20*60*minute, State: "active", Digest: digest("contract", n).String(),
	}
	c.Accepted = c.Work * (10 + 17*n) / 100
	c.Minted = c.Accepted / orePerIngot * orePerIngot * 9 / 10
	c.Paid = c.Stake * torq.JT(c.Minted/1000) / torq.JT(c.Work/1000)
	if n == 1 {
		c.Stake, c.VaultPart, c.Paid = 0, 0, 0
		c.State, c.Accepted, c.Minted, c.Closed = "completed", c.Work, c.Work, r.Now-5*minute
	}
	return c
}

// Contracts implements api.Reader.
func (r *Fake) Contracts(_ context.Context, page api.Page) (api.List[api.Contract], error) {
	if r.Certs == 0 {
		return api.List[api.Contract]{}, nil
	}
	return paged(page, contracts, func(i uint64) api.Contract { return r.contract(contracts - i) })
}

// Contract implements api.Reader.
func (r *Fake) Contract(_ context.Context, n uint64) (api.Contract, error) {
	if n < 1 || n > contracts || r.Certs == 0 {
		return api.Contract{}, api.NotFound("contract", n)
	}
	return r.contract(n), nil
}

func (r *Fake) robot(i uint64) api.Robot {
	id := r.Fleet[i]
	key := func(alg string) api.Key {
		return api.Key{ID: digest("key", id, alg).String()[:16], Name: id, Role: "robot", Alg: alg, NotBefore: r.Now - 50*minute}
	}
	robot := api.Robot{
		ID: id, Owner: "printers-guild", Digger: "digger", Version: 1, Watts: 400 + i*250, Tokens: 10 + i*4, Energy: "metered", Enrolled: r.Now - 50*minute,
		Keys: []api.Key{key("falcon-512-padded"), key("ed25519")}, Contracts: []uint64{1, 2 + i%4}, Reports: 200 + i*31, Ore: 4_100_000 + i*811_003, Void: i % 3,
		LastSeq: 202 + i*31, LastDigest: digest("report", id, 202+i*31).String(), LastReading: r.Now - 4_000, Working: i != 5, RecentRefusals: []api.Refusal{},
	}
	if i == 3 {
		robot.Energy = "rated"
	}
	return robot
}

// Robots implements api.Reader.
func (r *Fake) Robots(_ context.Context, page api.Page) (api.List[api.Robot], error) {
	return paged(page, uint64(len(r.Fleet)), r.robot)
}

// Robot implements api.Reader.
func (r *Fake) Robot(_ context.Context, id string) (api.Robot, error) {
	for i, name := range r.Fleet {
		if name == id {
			robot := r.robot(uint64(i))
			if i%3 > 0 {
				robot.RecentRefusals = append(robot.RecentRefusals, r.refusal(uint64(i)))
			}
			return robot, nil
		}
	}
	return api.Robot{}, api.NotFound("robot", id)
}

// Reserve implements api.Reader.
func (r *Fake) Reserve(context.Context) (api.Reserve, error) {
	v := api.Reserve{
		Supply: r.supply(), Certificates: r.Certs, Holdings: r.holdings(), Capital: r.supply() * 33 / 100, StakeTarget: 1000 * orePerCert,
		D: "9223372036854775808", Y: "9223372036854775808", Demurrage: "0.06", NextTick: r.Now + 20*minute,
	}
	if r.Certs == 0 {
		return v, nil
	}
	v.D, v.Y, v.Members, v.Postings, v.Head, v.HeadTime = "9223292561382871111", "9223391522100012345", 12, r.Certs*40, digest("head").String(), r.Now-2_000
	v.Collected, v.Paid = 51_388, 1_902_226
	step := max(1, r.Certs/120)
	for s := uint64(1); s <= r.Certs; s += step {
		v.SupplyOver = append(v.SupplyOver, api.SupplyPoint{Time: r.issued(s), JT: torq.JT(s * orePerCert)})
	}
	return v, nil
}

// Dividends implements api.Reader.
func (r *Fake) Dividends(_ context.Context, page api.Page) (api.List[api.Dividend], error) {
	n := r.dividends()
	return paged(page, n, func(i uint64) api.Dividend { return r.dividend(n - 1 - i) })
}

func (r *Fake) refusal(i uint64) api.Refusal {
	kinds := []api.Refusal{
		{Rule: "rating_energy", Void: true, Detail: "reading 3: 4,411 J in 1.000 s is above 105 % of 400 W × 1.000 s = 420 J"},
		{Rule: "too_short", Void: true, Detail: "8,000 ms and 2,210 ore: a report spans 10,000 ms or carries 3,600 ore"},
		{Rule: "bad_signature", Detail: "signature by key 91d1b0c2a4e8f311 (falcon-512-padded) does not verify"},
	}
	f := kinds[i%3]
	f.Time, f.Station, f.Robot, f.Contract, f.Seq = r.Now-int64(i)*97_000-5_000, "digger", r.Fleet[i%uint64(len(r.Fleet))], i%contracts+1, 300-i
	f.Report = digest("refused", i).String()
	return f
}

// Refusals implements api.Reader.
func (r *Fake) Refusals(_ context.Context, page api.Page) (api.List[api.Refusal], error) {
	if r.Certs == 0 {
		return api.List[api.Refusal]{}, nil
	}
	return paged(page, 22, r.refusal)
}

// Charter implements api.Reader.
func (r *Fake) Charter(context.Context) (api.Charter, error) {
	c := api.Charter{Origin: "demo.robotorq.org", Version: 1, Issued: r.Now - 60*minute, Threshold: 1, Digest: digest("charter").String(),
		Envelopes: []json.RawMessage{json.RawMessage(`{"payloadType":"application/vnd.robotorq.charter.v1+json","payload":"e30=","signatures":[]}`)}}
	for _, role := range []string{"root", "digger", "refinery", "mint", "vault", "trust", "registrar", "log"} {
		algs := []string{"falcon-512-padded", "ed25519"}
		if role == "root" || role == "mint" {
			algs = []string{"slh-dsa-sha2-128s", "ed25519"}
		}
		for i, alg := range algs {
			k := api.Key{ID: digest("charter", role, alg).String()[:16], Name: role, Role: role, Alg: alg, NotBefore: c.Issued}
			if role == "root" && i == 0 {
				k.Pin = digest("pin").String()
			}
			c.Keys = append(c.Keys, k)
		}
	}
	return c, nil
}

// defaultPolicy is a policy's document; making it takes time, for its curves.
func defaultPolicy(since int64) ([]byte, error) {
	document, err := policy.Default("demo.robotorq.org", uint64(since))
	if err != nil {
		return nil, err
	}
	return document.Encode()
}

// Policy implements api.Reader.
func (r *Fake) Policy(context.Context) (api.Policy, error) {
	encoded, err := r.policy()
	return api.Policy{Version: 1, Since: r.Now - 60*minute, Digest: digest("policy").String(), Document: encoded}, err
}

func (r *Fake) account(name string) (*Account, error) {
	if a := r.Accounts[name]; a != nil {
		return a, nil
	}
	return nil, api.Errorf(api.CodeUnknownAccount, "There is no account %s.", name)
}

// Order implements api.Wallets. It knows ["send", to, jt, memo] and checks no signature.
func (r *Fake) Order(_ context.Context, envelope []byte) (api.Receipt, error) {
	var e api.Envelope
	if err := json.Unmarshal(envelope, &e); err != nil {
		return api.Receipt{}, api.Errorf(api.CodeMalformed, "not an envelope: %v", err)
	}
	var order struct {
		_          struct{} `cbor:",toarray"`
		Origin     string
		From       string
		ID         []byte
		Created    uint64
		Expires    uint64
		Operations []struct {
			_      struct{} `cbor:",toarray"`
			Name   string
			To     string
			Amount uint64
			Memo   string
		}
	}
	if err := cbor.Unmarshal(e.Payload, &order); err != nil {
		return api.Receipt{}, api.Errorf(api.CodeMalformed, "not an order: %v", err)
	}
	id := hex.EncodeToString(order.ID)
	if receipt, ok := r.orders[id]; ok {
		receipt.Repeated = true
		return receipt, nil
	}
	from, err := r.account(order.From)
	if err != nil {
		return api.Receipt{}, err
	}
	for _, op := range order.Operations {
		to, err := r.account(op.To)
		if err != nil {
			return api.Receipt{}, err
		}
		if jt := torq.JT(op.Amount); from.JT < jt {
			return api.Receipt{}, api.Errorf(api.CodeInsufficientFunds, "%s holds %s, %s are needed.", order.From, from.JT.RT(), jt.RT())
		}
		from.move(-torq.JT(op.Amount), "sent", op.To, op.Memo, r.Now)
		to.move(torq.JT(op.Amount), "received", order.From, op.Memo, r.Now)
	}
	receipt := api.Receipt{Envelope: json.RawMessage(`{"payloadType":"application/vnd.robotorq.receipt.v1+cbor"}`), OrderID: id, Posting: uint64(len(r.orders)) + 1, Hash: digest("posting", id).String()}
	r.orders[id] = receipt
	return receipt, nil
}

func (a *Account) move(jt torq.JT, kind, other, memo string, now int64) {
	a.JT += jt
	a.Lines = append(a.Lines, api.StatementLine{Posting: uint64(len(a.Lines)) + 1, Time: now, Kind: kind, JT: jt, Balance: a.JT, Other: other, Memo: memo})
}

// Balance implements api.Wallets.
func (r *Fake) Balance(_ context.Context, name string) (api.Balance, error) {
	a, err := r.account(name)
	if err != nil {
		return api.Balance{}, err
	}
	return api.Balance{Account: name, Status: "active", JT: a.JT, Eligible: true, Time: r.Now}, nil
}

// Statement implements api.Wallets.
func (r *Fake) Statement(_ context.Context, name string, page api.Page) (api.List[api.StatementLine], error) {
	a, err := r.account(name)
	if err != nil {
		return api.List[api.StatementLine]{}, err
	}
	n := uint64(len(a.Lines))
	return paged(page, n, func(i uint64) api.StatementLine { return a.Lines[n-1-i] })
}

// Key implements api.Wallets.
func (r *Fake) Key(_ context.Context, name, keyID string) ([]byte, error) {
	a, err := r.account(name)
	if err != nil || a.KeyID != keyID {
		return nil, api.Errorf(api.CodeBadSignature, "Key %s is not one of %s.", keyID, name)
	}
	return a.Public, nil
}

// Enrol implements api.Wallets.
func (r *Fake) Enrol(_ context.Context, envelope []byte) (api.Enrolled, error) {
	return api.Enrolled{Account: "member:new", Version: 1, Digest: digest(envelope).String(), Envelope: envelope}, nil
}

// Admit implements api.Wallets.
func (r *Fake) Admit(_ context.Context, registrar string, a api.Admission) (api.Enrolled, error) {
	account := "member:" + a.Member
	if a.Org != "" {
		account = "org:" + a.Org
	}
	if r.Accounts[account] != nil {
		return api.Enrolled{}, api.Errorf(api.CodeDuplicate, "%s is enrolled already.", account)
	}
	r.Accounts[account] = &Account{Public: a.Keys[0].Public}
	return api.Enrolled{Account: account, Version: 1, Digest: digest(registrar, account).String(), Envelope: json.RawMessage(`{}`)}, nil
}

// Check implements api.Tokens: a token is the name of its role.
func (r *Fake) Check(_ context.Context, token string) (api.Principal, error) {
	switch role := api.Role(token); role {
	case api.RoleAdmin, api.RolePortal, api.RoleRegistrar, api.RoleMesh:
		return api.Principal{Name: token, Role: role}, nil
	}
	return api.Principal{}, api.Errorf(api.CodeTokenInvalid, "The token is unknown, expired or revoked.")
}
