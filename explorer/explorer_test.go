package explorer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/explorer"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// everything reads a list in pages of a size.
func everything[T any](t *testing.T, size int, read func(api.Page) (api.List[T], error)) (all []T) {
	t.Helper()
	page := api.Page{Limit: size}
	for {
		list, err := read(page)
		must(t, err)
		if len(list.Items) > size || list.Items == nil {
			t.Fatalf("a page of %d has %d items", size, len(list.Items))
		}
		all = append(all, list.Items...)
		if list.Next == "" {
			return all
		}
		page.Cursor = list.Next
	}
}

func code(t *testing.T, err error, want api.Code) {
	t.Helper()
	if api.CodeOf(err) != want {
		t.Errorf("%v, not %s", err, want)
	}
}

func TestTheExplorerShowsAReserve(t *testing.T) {
	w := newTown(t)
	t.Run("certificates", w.certificates)
	t.Run("ore", w.ore)
	t.Run("export", w.export)
	t.Run("overview", w.overview)
	t.Run("contracts and robots", w.contractsAndRobots)
	t.Run("reserve", w.theReserve)
	t.Run("events", w.feedEvents)
	t.Run("cursors", w.cursors)
	t.Run("a restart counts the same", w.restart)
	t.Run("many at once", w.manyAtOnce)
	t.Run("disputes", w.disputes)
	t.Run("supply over time", w.supplyOverTime)
}

func (w *town) certificates(t *testing.T) {
	ctx := t.Context()
	read := func(p api.Page) (api.List[api.CertificateSummary], error) { return w.Certificates(ctx, p) }
	all := everything(t, 1, read)
	if len(all) != len(w.reserve.Certs) || len(all) < 3 {
		t.Fatalf("%d certificates of %d", len(all), len(w.reserve.Certs))
	}
	for i, c := range all {
		made := w.reserve.Certs[len(all)-1-i]
		if c.Serial != made.Serial || c.Digest != made.Digest().String() || c.Work[0].Enterprise != "enterprise-1" || c.Recalled || c.Disputed {
			t.Errorf("%+v", c)
		}
		w.certificate(t, made)
	}
	_, err := w.Certificate(ctx, uint64(len(all))+1)
	code(t, err, api.CodeNotFound)
	_, err = w.Certificate(ctx, 0)
	code(t, err, api.CodeNotFound)
	waiting, err := w.Ingot(ctx, prooftest.Refinery, uint64(w.ingots()))
	must(t, err)
	if waiting.Serial != 0 || len(waiting.Spans) == 0 {
		t.Errorf("an ingot that waits: %+v", waiting)
	}
	_, err = w.Ingot(ctx, prooftest.Refinery, uint64(w.ingots())+1)
	code(t, err, api.CodeNotFound)
	_, err = w.Ingot(ctx, "refinery-9", 1)
	code(t, err, api.CodeNotFound)
}

func (w *town) certificate(t *testing.T, made proof.Certificate) {
	ctx := t.Context()
	c, err := w.Certificate(ctx, made.Serial)
	must(t, err)
	facts := w.reserve.CertOf[made.Serial-1]
	var ore uint64
	for _, s := range c.Robots {
		ore += s.Ore
	}
	if ore != c.Ore || c.Run.Digest != facts.Run.String() || w.reserve.Log[c.LogIndex].Digest.String() != c.Digest {
		t.Errorf("%+v", c)
	}
	if c.Posting == 0 || uint64(c.Growth+c.Disto) != c.Ore {
		t.Errorf("its money: %+v", c)
	}
	ingots := everything(t, 3, func(p api.Page) (api.List[api.IngotSummary], error) { return w.Ingots(ctx, made.Serial, p) })
	for i, g := range ingots {
		want := facts.Ingots[i]
		one, err := w.Ingot(ctx, g.Refinery, g.Seq)
		must(t, err)
		if g.Seq != want.Seq || g.Position != uint64(i) || one.Serial != made.Serial || one.Position != g.Position || one.Root != g.Root || one.FirstUnit != g.Position*c.Ore/c.Ingots {
			t.Errorf("%+v is %+v, made of %+v", g, one, want)
		}
		for _, s := range one.Spans {
			if s.Robot == "" || s.Derived < s.First+s.Count || s.Energy == 0 {
				t.Errorf("%+v", s)
			}
		}
	}
	if len(ingots) != len(facts.Ingots) {
		t.Errorf("%d ingots of %d", len(ingots), len(facts.Ingots))
	}
}

func (w *town) ore(t *testing.T) {
	ctx := t.Context()
	ore := w.reserve.Profile.CertificateOre()
	for _, k := range []uint64{0, 1, 15, 16, 37, ore - 1} {
		o, err := w.Ore(ctx, 1, k)
		must(t, err)
		if !o.Checked || o.Fault != "" {
			t.Fatalf("unit %d: %s", k, o.Fault)
		}
		leaf, record := hash(t, o.Leaf), hash(t, o.Record)
		must(t, merkle.Verify(leaf, o.Unit, w.reserve.Profile.OrePerIngot, hashes(t, o.OrePath), hash(t, o.OreRoot)))
		must(t, merkle.Verify(record, o.Position, w.reserve.Profile.IngotsPerCertificate, hashes(t, o.Path), hash(t, o.Root)))
		if leaf != merkle.OreLeaf(hash(t, o.Span.Report), o.Offset) || o.Offset < o.Span.First || o.Offset >= o.Span.First+o.Span.Count {
			t.Errorf("%+v", o)
		}
		if _, err := proof.DecodeOreProof(o.File); err != nil {
			t.Error(err)
		}
	}
	_, err := w.Ore(ctx, 1, ore)
	code(t, err, api.CodeNotFound)
	_, err = w.Ore(ctx, 1000, 0)
	code(t, err, api.CodeNotFound)
}

func hash(t *testing.T, text string) merkle.Hash {
	t.Helper()
	h, err := merkle.ParseHash(text)
	must(t, err)
	return h
}

func hashes(t *testing.T, texts []string) (path []merkle.Hash) {
	for _, s := range texts {
		path = append(path, hash(t, s))
	}
	return path
}

func (w *town) export(t *testing.T) {
	r, err := w.Export(t.Context(), 2)
	must(t, err)
	text, err := io.ReadAll(r)
	must(t, err)
	must(t, r.Close())
	bundle, err := proof.DecodeBundle(text)
	must(t, err)
	sum, err := bundle.Verify(proof.VerifyOptions{Profile: w.reserve.Profile, Roots: []merkle.Hash{w.reserve.Pin()}})
	must(t, err)
	if sum.Serial != 2 || !sum.Pinned {
		t.Errorf("%+v", sum)
	}
	_, err = w.Export(t.Context(), 99)
	code(t, err, api.CodeNotFound)
}

func (w *town) overview(t *testing.T) {
	o, err := w.Overview(t.Context())
	must(t, err)
	certs := uint64(len(w.reserve.Certs))
	supply := torq.JT(certs * w.reserve.Profile.CertificateOre())
	if o.Vault.Supply != supply || sum(o.Vault.Holdings) != supply {
		t.Errorf("supply %d of %d, holdings %+v", o.Vault.Supply, supply, o.Vault.Holdings)
	}
	if o.Mint.Certificates != certs || o.Mint.LastSerial != certs || o.Mint.LogSize != uint64(len(w.reserve.Log)) || o.Mint.WaitingIngots != uint64(w.ingots())-4*certs {
		t.Errorf("%+v", o.Mint)
	}
	if o.Robots != (api.RobotStation{Enrolled: 2, Working: 2, Watts: 3}) || o.Digger.Reports != uint64(len(w.reports)) || o.Digger.Batches == 0 || o.Digger.Ore == 0 || o.Digger.Pending != 0 {
		t.Errorf("%+v %+v", o.Robots, o.Digger)
	}
	if o.Refinery.Ingots != uint64(w.ingots()) || o.Refinery.OpenOre != 7 || o.Refinery.Pours != 3 {
		t.Errorf("%+v", o.Refinery)
	}
	if !slices.Contains(o.Refusals, api.RuleCount{Rule: "not_assigned", Count: 1}) || !slices.Contains(o.Refusals, api.RuleCount{Rule: "malformed", Count: 1}) {
		t.Errorf("%+v", o.Refusals)
	}
	if o.Dividend.Unit != 60_000 || o.Dividend.Next <= o.Now || o.Dividend.Required != 1 || o.Origin != prooftest.Origin {
		t.Errorf("%+v", o.Dividend)
	}
	w.clock.pass(10 * policy.Minute)
	if o, err = w.Overview(t.Context()); err != nil || o.Robots.Working != 0 {
		t.Errorf("robots work that were not heard of: %+v %v", o.Robots, err)
	}
}

func sum(holdings []api.Holding) (all torq.JT) {
	for _, h := range holdings {
		all += h.JT
	}
	return all
}

func (w *town) contractsAndRobots(t *testing.T) {
	ctx := t.Context()
	contracts := everything(t, 1, func(p api.Page) (api.List[api.Contract], error) { return w.Contracts(ctx, p) })
	if len(contracts) != 2 || contracts[0].Number != 2 || contracts[1].Number != 1 {
		t.Fatalf("%+v", contracts)
	}
	var minted uint64
	for _, c := range contracts {
		minted += c.Minted
		if c.State != "active" || c.Accepted < c.Minted || c.Digest == "" || c.Funded == 0 || c.Release != "uniform, 1h" || c.Work != 1600 {
			t.Errorf("%+v", c)
		}
	}
	if minted != uint64(len(w.reserve.Certs))*w.reserve.Profile.CertificateOre() {
		t.Errorf("%d ore minted", minted)
	}
	_, err := w.Contract(ctx, 3)
	code(t, err, api.CodeNotFound)
	robots := everything(t, 1, func(p api.Page) (api.List[api.Robot], error) { return w.Robots(ctx, p) })
	if len(robots) != 2 || robots[0].ID != "robot-a" || robots[1].ID != "robot-b" {
		t.Fatalf("%+v", robots)
	}
	a, err := w.Robot(ctx, "robot-a")
	must(t, err)
	if robots[0].RecentRefusals == nil || len(robots[0].RecentRefusals) != 0 || robots[0].Enrolment != nil {
		t.Errorf("in a list: %+v", robots[0])
	}
	if a.Reports != 3 || a.Void != 1 || a.LastSeq != 3 || a.LastDigest != w.robots[0].Digest.String() || len(a.RecentRefusals) != 1 || a.RecentRefusals[0].Rule != "not_assigned" ||
		!slices.Equal(a.Contracts, []uint64{1}) || len(a.Keys) != 2 || a.Watts != 1 {
		t.Errorf("%+v", a)
	}
	_, err = w.Robot(ctx, "robot-c")
	code(t, err, api.CodeNotFound)
	refusals := everything(t, 1, func(p api.Page) (api.List[api.Refusal], error) { return w.Refusals(ctx, p) })
	if len(refusals) != 1 || !refusals[0].Void || refusals[0].Contract != 2 || refusals[0].Robot != "robot-a" {
		t.Errorf("%+v", refusals)
	}
}

func (w *town) theReserve(t *testing.T) {
	ctx := t.Context()
	r, err := w.Reserve(ctx)
	must(t, err)
	if sum(r.Holdings) != r.Supply || len(r.SupplyOver) != len(w.reserve.Certs) || r.SupplyOver[len(r.SupplyOver)-1].JT != r.Supply {
		t.Errorf("%+v", r)
	}
	if r.D != "9223372036854775808" || r.Y != r.D || r.Demurrage != "0.06" || r.Capital <= 0 || r.StakeTarget <= 0 || len(r.Head) != 64 {
		t.Errorf("%+v", r)
	}
	c, err := w.Charter(ctx)
	must(t, err)
	pinned := slices.ContainsFunc(c.Keys, func(k api.Key) bool { return k.Pin == w.reserve.Pin().String() })
	var env seal.Envelope
	must(t, json.Unmarshal(c.Envelopes[0], &env))
	if c.Version != 1 || !pinned || env.Digest().String() != c.Digest {
		t.Errorf("%+v", c)
	}
	p, err := w.Policy(ctx)
	must(t, err)
	must(t, json.Unmarshal(p.Envelope, &env))
	if p.Version != 1 || !bytes.Equal(env.Payload, p.Document) || env.Digest().String() != p.Digest {
		t.Errorf("%+v", p)
	}
	if list, err := w.Dividends(ctx, api.Page{Limit: 10}); err != nil || list.Items == nil {
		t.Errorf("%+v %v", list, err)
	}
}

func (w *town) feedEvents(t *testing.T) {
	w.until("Trust's documents are announced", func() bool { return w.events()[api.KindNotice] >= 5 })
	events := w.events()
	for kind, want := range map[string]int{
		api.KindReport: len(w.reports), api.KindCertificate: len(w.reserve.Certs), api.KindPour: 3, api.KindRefusal: 2,
	} {
		if events[kind] != want {
			t.Errorf("%d events %s, not %d: %v", events[kind], kind, want, events)
		}
	}
	if events[api.KindBatch] == 0 || events[api.KindPosting] == 0 {
		t.Errorf("%v", events)
	}
}

func (w *town) cursors(t *testing.T) {
	ctx := t.Context()
	for _, cursor := range []string{"x", "-1", "01", "1e3", "99999999999999999999", "/"} {
		page := api.Page{Cursor: cursor, Limit: 5}
		for name, read := range map[string]func() error{
			"certificates": func() error { _, err := w.Certificates(ctx, page); return err },
			"ingots":       func() error { _, err := w.Ingots(ctx, 1, page); return err },
			"contracts":    func() error { _, err := w.Contracts(ctx, page); return err },
			"dividends":    func() error { _, err := w.Dividends(ctx, page); return err },
			"refusals":     func() error { _, err := w.Refusals(ctx, page); return err },
			"statement":    func() error { _, err := w.Statement(ctx, "org:enterprise-1", page); return err },
		} {
			if err := read(); api.CodeOf(err) != api.CodeCursorInvalid {
				t.Errorf("%s with cursor %q: %v", name, cursor, err)
			}
		}
	}
	_, err := w.Robots(ctx, api.Page{Cursor: "Ä", Limit: 5})
	code(t, err, api.CodeCursorInvalid)
}

func (w *town) restart(t *testing.T) {
	var before api.Overview
	var err error
	quiet := 0
	w.until("the vault rests", func() bool {
		postings := before.Vault.Postings
		before, err = w.Overview(t.Context())
		must(t, err)
		if quiet++; before.Vault.Postings != postings {
			quiet = 0
		}
		return quiet > 20
	})
	must(t, w.Close())
	w.Explorer, err = explorer.New(t.Context(), w.options)
	must(t, err)
	must(t, w.Attach(t.Context(), w.stations))
	after, err := w.Overview(t.Context())
	must(t, err)
	if fmt.Sprintf("%+v", before) != fmt.Sprintf("%+v", after) {
		t.Errorf("before %+v\nafter  %+v", before, after)
	}
	w.certificates(t)
}

func (w *town) manyAtOnce(t *testing.T) {
	var work sync.WaitGroup
	for i := range 8 {
		work.Go(func() {
			ctx := context.Background()
			_, err1 := w.Overview(ctx)
			_, err2 := w.Ore(ctx, 1, uint64(i))
			_, err3 := w.Certificate(ctx, uint64(i%3)+1)
			_, err4 := w.Robot(ctx, "robot-a")
			_, err5 := w.Reserve(ctx)
			_, err6 := w.Ingot(ctx, prooftest.Refinery, uint64(i)+1)
			if err := errors.Join(err1, err2, err3, err4, err5, err6); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
}

func (w *town) disputes(t *testing.T) {
	w.exec(w.stations.Mint.DB, "INSERT INTO mint_certificate (serial, digest, issued, run, fault) VALUES (2, zeroblob(32), 0, 1, 'wrong')")
	list, err := w.Certificates(t.Context(), api.Page{Limit: 100})
	must(t, err)
	for _, c := range list.Items {
		if c.Disputed != (c.Serial == 2) || c.Recalled {
			t.Errorf("%+v", c)
		}
	}
}

func (w *town) supplyOverTime(t *testing.T) {
	last := int64(len(w.reserve.Certs))
	for serial := last + 1; serial <= 911; serial++ {
		w.exec(w.stations.Vault.DB, "INSERT INTO vault_mint (serial, seq, time, supply, paid, growth, returns, disto) VALUES (?1, ?1, ?1, ?1 * 64, 0, 0, 0, 0)", serial)
	}
	r, err := w.Reserve(t.Context())
	must(t, err)
	points := r.SupplyOver
	if n := len(points); n > 200 || n < 150 || points[n-1].JT != 911*64 {
		t.Fatalf("%d points to %+v", len(points), points[len(points)-1])
	}
	for i := 1; i < len(points); i++ {
		if points[i].JT-points[i-1].JT != 5*64 {
			t.Errorf("uneven at %d", i)
		}
	}
}

func admission(t *testing.T, id, subject string) api.Admission {
	t.Helper()
	a := api.Admission{Member: id, Subject: subject}
	for _, k := range prooftest.Signer(t, id, seal.RoleMember).Keys {
		a.Keys = append(a.Keys, api.AdmissionKey{Alg: k.Alg, Public: k.Public})
	}
	return a
}

func TestAPersonIsAdmittedOnce(t *testing.T) {
	w := newTown(t)
	ctx := t.Context()
	first, err := w.Admit(ctx, "desk", admission(t, "ada", " passport 1 "))
	must(t, err)
	if first.Account != "member:ada" || first.Version != 1 || !exists(filepath.Join(w.dir, "keys", prooftest.Registrar+".subject")) {
		t.Errorf("%+v", first)
	}
	w.clock.pass(5000)
	again, err := w.Admit(ctx, "desk", admission(t, "ada", "passport 1"))
	must(t, err)
	if again.Digest != first.Digest || !bytes.Equal(again.Envelope, first.Envelope) {
		t.Errorf("%+v\n%+v", first, again)
	}
	if repeated, err := w.Enrol(ctx, first.Envelope); err != nil || repeated.Digest != first.Digest {
		t.Errorf("%+v %v", repeated, err)
	}
	other := admission(t, "ada", "passport 1")
	other.Keys = admission(t, "bela", "").Keys
	_, err = w.Admit(ctx, "desk", other)
	code(t, err, api.CodeDuplicate)
	_, err = w.Admit(ctx, "desk", admission(t, "bela", "passport 1"))
	code(t, err, api.CodeDuplicate)
	_, err = w.Admit(ctx, "desk", admission(t, "bela", " "))
	code(t, err, api.CodeMalformed)
	short := admission(t, "bela", "passport 2")
	short.Keys = short.Keys[:1]
	_, err = w.Admit(ctx, "desk", short)
	code(t, err, api.CodeMalformed)
	_, err = w.Enrol(ctx, []byte(`{"payloadType": 1}`))
	code(t, err, api.CodeMalformed)
	_, err = w.Admit(ctx, "desk", admission(t, "bela", "passport 2"))
	must(t, err)
	_, err = w.Admit(ctx, "desk", admission(t, "chidi", "passport 3"))
	code(t, err, api.CodeTooManyEnrolments)
	w.clock.pass(policy.Day)
	_, err = w.Admit(ctx, "desk", admission(t, "chidi", "passport 3"))
	must(t, err)
}

func TestAWalletSpendsAndReadsItsStatement(t *testing.T) {
	w := newTown(t)
	ctx := t.Context()
	for _, id := range []string{"ada", "bela"} {
		_, err := w.Admit(ctx, "desk", admission(t, id, id))
		must(t, err)
	}
	w.clock.pass(2 * policy.Hour) // what was minted is released
	w.until("a dividend is paid", func() bool {
		b, err := w.Balance(ctx, "member:ada")
		must(t, err)
		return b.JT > 2
	})
	envelope := order(t, w, "ada", ledger.Operation{Kind: ledger.OpSend, To: "member:bela", Amount: 2, Memo: "tea"})
	receipt, err := w.Order(ctx, envelope)
	must(t, err)
	again, err := w.Order(ctx, envelope)
	must(t, err)
	if receipt.Repeated || !again.Repeated || again.Posting != receipt.Posting || len(receipt.OrderID) != 32 || !bytes.Equal(again.Envelope, receipt.Envelope) {
		t.Errorf("%+v\n%+v", receipt, again)
	}
	for _, account := range []string{"member:ada", "member:bela"} {
		b, err := w.Balance(ctx, account)
		must(t, err)
		lines := everything(t, 1, func(p api.Page) (api.List[api.StatementLine], error) { return w.Statement(ctx, account, p) })
		var sum torq.JT
		for _, l := range lines {
			sum += l.JT
		}
		if sum != b.JT || b.Received-b.Sent+b.Dividend-b.Decayed != b.JT || b.Status != "active" || !b.Eligible || b.Dividend == 0 {
			t.Errorf("%+v: %+v", b, lines)
		}
		if !slices.ContainsFunc(lines, func(l api.StatementLine) bool { return l.Memo == "tea" && l.OrderID == receipt.OrderID }) {
			t.Errorf("%+v", lines)
		}
	}
	o, err := w.Overview(ctx)
	must(t, err)
	if o.Wallets.Orders != 1 || o.Wallets.Members != 2 || o.Dividend.Last == nil {
		t.Errorf("%+v %+v", o.Wallets, o.Dividend)
	}
	w.refusedOrders(t)
	w.keys(t)
}

func order(t *testing.T, w *town, id string, ops ...ledger.Operation) []byte {
	t.Helper()
	now := uint64(w.clock.Now().UnixMilli())
	o := ledger.Order{Origin: prooftest.Origin, From: "member:" + id, Created: now, Expires: now + policy.Hour, Operations: ops}
	id128 := merkle.LeafHash(fmt.Append(nil, ops, now))
	copy(o.ID[:], id128[:])
	env, err := prooftest.Signer(t, id, seal.RoleMember).Sign(ledger.TypeOrder, o.Encode())
	must(t, err)
	text, err := json.Marshal(env)
	must(t, err)
	return text
}

func (w *town) refusedOrders(t *testing.T) {
	ctx := t.Context()
	send := func(to string, amount uint64) ledger.Operation {
		return ledger.Operation{Kind: ledger.OpSend, To: to, Amount: amount}
	}
	for want, envelope := range map[api.Code][]byte{
		api.CodeInsufficientFunds: order(t, w, "ada", send("member:bela", 1<<40)),
		api.CodeUnknownAccount:    order(t, w, "ada", send("member:nobody", 1)),
		api.CodeAmountInvalid:     order(t, w, "ada", send("member:bela", 0)),
		api.CodeMalformed:         []byte("{}"),
	} {
		_, err := w.Order(ctx, envelope)
		code(t, err, want)
	}
}

func (w *town) keys(t *testing.T) {
	ctx := t.Context()
	pair, _ := prooftest.Signer(t, "ada", seal.RoleMember).Key(seal.Ed25519)
	public, err := w.Key(ctx, "member:ada", pair.KeyID())
	if err != nil || !bytes.Equal(public, pair.Public) {
		t.Errorf("%x %v", public, err)
	}
	falcon, _ := prooftest.Signer(t, "ada", seal.RoleMember).Key(seal.Falcon512Padded)
	for account, id := range map[string]string{"member:bela": pair.KeyID(), "member:nobody": pair.KeyID(), "member:ada": falcon.KeyID()} {
		_, err := w.Key(ctx, account, id)
		code(t, err, api.CodeBadSignature)
	}
	_, err = w.Balance(ctx, "member:nobody")
	code(t, err, api.CodeUnknownAccount)
}

func TestATokenIsKnownUntilItExpiresOrIsRevoked(t *testing.T) {
	clock := &testClock{now: prooftest.Genesis}
	e, err := explorer.New(t.Context(), explorer.Options{Data: t.TempDir(), Origin: prooftest.Origin, Profile: prooftest.Tiny(), Clock: clock})
	must(t, err)
	defer func() { must(t, e.Close()) }()
	ctx := t.Context()
	token, err := e.IssueToken(ctx, "desk", api.RoleRegistrar, clock.now+1000)
	must(t, err)
	other, err := e.IssueToken(ctx, "portal", api.RolePortal, clock.now+5000)
	must(t, err)
	who, err := e.Check(ctx, token)
	if err != nil || who != (api.Principal{Name: "desk", Role: api.RoleRegistrar}) {
		t.Errorf("%+v %v", who, err)
	}
	for _, wrong := range []string{"", "rtq_", token + "x", token[:len(token)-1], other[:20]} {
		_, err := e.Check(ctx, wrong)
		code(t, err, api.CodeTokenInvalid)
	}
	clock.pass(1000)
	_, err = e.Check(ctx, token)
	code(t, err, api.CodeTokenInvalid)
	if n, err := e.RevokeToken(ctx, "portal"); n != 1 || err != nil {
		t.Errorf("%d %v", n, err)
	}
	_, err = e.Check(ctx, other)
	code(t, err, api.CodeTokenInvalid)
	for _, bad := range []struct {
		name    string
		role    api.Role
		expires uint64
	}{{"", api.RoleMesh, clock.now + 1}, {"x", "root", clock.now + 1}, {"x", api.RoleMesh, clock.now}} {
		_, err := e.IssueToken(ctx, bad.name, bad.role, bad.expires)
		code(t, err, api.CodeMalformed)
	}
	all, err := e.Tokens(ctx)
	if err != nil || len(all) != 2 || all[0].Name != "desk" || all[1].Revoked == 0 {
		t.Errorf("%+v %v", all, err)
	}
}
