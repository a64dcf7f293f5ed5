package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/robot"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/wallet"
)

// counter is a node's HTTP side as far as wallets and registrars use it.
type counter struct {
	t        *testing.T
	reserve  *prooftest.Reserve
	url      string
	orders   []seal.Envelope
	enrolled []seal.Envelope
	receipt  func(*proof.Receipt) // spoils receipts
	signer   string               // of receipts
	deaf     bool                 // breaks every order's connection off
	refuse   api.Code
	answer   http.HandlerFunc // instead of a receipt, if not nil
}

func openCounter(t *testing.T, r *prooftest.Reserve) *counter {
	t.Helper()
	c := &counter{t: t, reserve: r, signer: prooftest.Vault}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/charter", func(w http.ResponseWriter, _ *http.Request) {
		var raw []json.RawMessage
		for _, v := range r.Registry.Charters() {
			text, err := json.Marshal(v.Envelope)
			must(t, err)
			raw = append(raw, text)
		}
		text, err := json.Marshal(api.Charter{Origin: prooftest.Origin, Envelopes: raw})
		must(t, err)
		w.Header().Set("Content-Length", strconv.Itoa(len(text))) // so that the order comes on the same connection
		_, err = w.Write(text)
		must(t, err)
	})
	mux.HandleFunc("POST /api/v1/orders", c.order)
	mux.HandleFunc("POST /api/v1/enrolments", c.enrol)
	mux.HandleFunc("GET /api/v1/wallets/{account}", func(w http.ResponseWriter, q *http.Request) {
		if q.Header.Get("Signature") == "" {
			t.Error("a wallet was asked for without a signature")
		}
		must(t, json.NewEncoder(w).Encode(api.Balance{Account: q.PathValue("account"), Status: "active", JT: 4_500_000, Posting: 1234, Leaving: []api.Leaving{{JT: 36, Due: 1}}}))
	})
	mux.HandleFunc("GET /api/v1/wallets/{account}/statement", func(w http.ResponseWriter, q *http.Request) {
		list := api.List[api.StatementLine]{Items: []api.StatementLine{{Posting: 2, Kind: "received", JT: 36, Balance: 36, Other: "member:eve", Memo: "\x1b[2Jpay"}}}
		if q.URL.Query().Get("cursor") == "" {
			list.Next = "more"
		}
		must(t, json.NewEncoder(w).Encode(list))
	})
	mux.HandleFunc("GET /api/v1/wallets/{account}/statement.csv", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "posting,time\n") })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

func (c *counter) order(w http.ResponseWriter, q *http.Request) {
	var env seal.Envelope
	data, err := io.ReadAll(q.Body)
	must(c.t, err)
	must(c.t, json.Unmarshal(data, &env))
	c.orders = append(c.orders, env)
	if c.answer != nil {
		c.answer(w, q)
		return
	}
	if c.deaf {
		panic(http.ErrAbortHandler)
	}
	if c.refuse != "" {
		api.WriteProblem(w, q, api.Errorf(c.refuse, "No."))
		return
	}
	o, err := ledger.OrderFrom(env)
	must(c.t, err)
	r := proof.Receipt{Origin: prooftest.Origin, Order: o.ID, Seq: 17, Issued: c.reserve.Now}
	if c.receipt != nil {
		c.receipt(&r)
	}
	text, err := json.Marshal(c.reserve.Sign(c.signer, proof.TypeReceipt, r.Encode()))
	must(c.t, err)
	must(c.t, json.NewEncoder(w).Encode(api.Receipt{Envelope: text, OrderID: fmt.Sprintf("%x", o.ID), Posting: 17, Hash: r.Posting.String(), Repeated: len(c.orders) > 1}))
}

func (c *counter) enrol(w http.ResponseWriter, q *http.Request) {
	var env seal.Envelope
	data, err := io.ReadAll(q.Body)
	must(c.t, err)
	must(c.t, json.Unmarshal(data, &env))
	e, err := seal.DecodeEnrolment(env.Payload)
	must(c.t, err)
	// The reserve's keys are valid from a time to come on, the command's clock is real.
	charter := c.reserve.Registry.Charter()
	if err := seal.VerifyEnvelope(env, charter.KeysOf(seal.RoleRegistrar), charter.Required(seal.RoleRegistrar), prooftest.Genesis); err != nil {
		api.WriteProblem(w, q, api.Errorf(api.CodeBadSignature, "%v", err))
		return
	}
	c.enrolled = append(c.enrolled, env)
	must(c.t, json.NewEncoder(w).Encode(api.Enrolled{Account: e.Role() + ":" + e.ID, Version: e.Version, Digest: env.Digest().String(), Envelope: data}))
}

func (c *counter) last() *seal.Enrolment {
	c.t.Helper()
	e, err := seal.DecodeEnrolment(c.enrolled[len(c.enrolled)-1].Payload)
	must(c.t, err)
	return e
}

// newWallet makes a wallet in a directory of its own.
func newWallet(t *testing.T, id string, args ...string) (file string, request outcome) {
	t.Helper()
	file = filepath.Join(t.TempDir(), id+".json")
	return file, ok(t, append([]string{"wallet", "new", id, "--wallet", file}, args...)...)
}

func TestAWalletIsMadeOnceAndPrivately(t *testing.T) {
	file, o := newWallet(t, "ada")
	if r := read[admissionRequest](t, o); r.Member != "ada" || len(r.Keys) != 2 {
		t.Errorf("%+v", r)
	}
	info, err := os.Stat(file)
	must(t, err)
	if info.Mode().Perm() != 0o600 || strings.Contains(o.out+o.err, "private") {
		t.Errorf("mode %o, printed %s", info.Mode().Perm(), o.out)
	}
	fails(t, exitFailed, "exists already", "wallet", "new", "ada", "--wallet", file)
	fails(t, exitUsage, "is not an id", "wallet", "new", "Ada Lovelace", "--wallet", filepath.Join(t.TempDir(), "x.json"))
	fails(t, exitUsage, "there is no wallet", "wallet", "balance", "--wallet", filepath.Join(t.TempDir(), "none.json"))
	fails(t, exitUsage, "ROBOTORQ_PASSPHRASE", "wallet", "new", "bob", "--encrypt", "--wallet", filepath.Join(t.TempDir(), "x.json"))

	t.Setenv(passphraseVariable, "correct horse")
	closed, _ := newWallet(t, "bob")
	data, err := os.ReadFile(closed)
	must(t, err)
	if !strings.Contains(string(data), "-----BEGIN AGE") || strings.Contains(string(data), "plain:") {
		t.Error("the wallet is not encrypted")
	}
	t.Setenv(passphraseVariable, "")
	fails(t, exitFailed, "set ROBOTORQ_PASSPHRASE", "wallet", "balance", "--wallet", closed)
	t.Setenv(passphraseVariable, "wrong")
	o = fails(t, exitFailed, "the passphrase does not open the wallet", "wallet", "balance", "--wallet", closed)
	if strings.Contains(o.err, "age") {
		t.Errorf("a library speaks: %s", o.err)
	}
}

func TestABalanceAndAStatementAreShown(t *testing.T) {
	r, _ := dataOf(t)
	c := openCounter(t, r)
	file, _ := newWallet(t, "ada")
	o := ok(t, "wallet", "balance", "--wallet", file, "--url", c.url)
	if !strings.Contains(o.out, "1.25000 RT") || !strings.Contains(o.out, "4,500,000 JT") || !strings.Contains(o.out, "posting 1,234") {
		t.Errorf("%s", o.out)
	}
	if b := read[api.Balance](t, ok(t, "wallet", "balance", "--wallet", file, "--url", c.url, "--json")); b.JT != 4_500_000 || b.Account != "member:ada" {
		t.Errorf("%+v", b)
	}
	o = ok(t, "wallet", "statement", "--wallet", file, "--url", c.url)
	if !strings.Contains(o.out, "·[2Jpay") || strings.Contains(o.out, "\x1b") || strings.Count(o.out, "member:eve") != 2 {
		t.Errorf("%q", o.out)
	}
	if o = ok(t, "wallet", "statement", "--wallet", file, "--url", c.url, "--format", "csv"); o.out != "posting,time\n" {
		t.Errorf("%q", o.out)
	}
	if l := read[struct{ Lines []api.StatementLine }](t, ok(t, "wallet", "statement", "--wallet", file, "--url", c.url, "--limit", "1", "--json")); len(l.Lines) != 1 {
		t.Errorf("%+v", l)
	}
	fails(t, exitFailed, "is the reserve running?", "wallet", "balance", "--wallet", file, "--url", "http://127.0.0.1:1")
	fails(t, exitUsage, "HOST", "wallet", "balance", "--wallet", file, "--url", "reserve")
}

func TestMoneyIsSentByASignedOrderAndTheReceiptIsChecked(t *testing.T) {
	r, _ := dataOf(t)
	c := openCounter(t, r)
	file, _ := newWallet(t, "ada")
	w, err := wallet.Open(file)
	must(t, err)
	account, err := w.Account("")
	must(t, err)
	send := []string{"wallet", "send", "member:bob", "1.25", "RT", "--memo", "for the chair", "--wallet", file, "--url", c.url}
	o := ok(t, send...)
	if !strings.Contains(o.out, "Sent 1.25000 RT (4,500,000 JT) to member:bob. Posting 17") || !strings.Contains(o.err, r.Pin().String()) {
		t.Errorf("%s%s", o.out, o.err)
	}
	order, err := ledger.CheckOrder(c.orders[0], prooftest.Origin, account.EnrolmentKeys(0), uint64(nowMS()))
	if err != nil || order.From != "member:ada" || order.Operations[0].Amount != 4_500_000 || order.Operations[0].Memo != "for the chair" {
		t.Errorf("%+v: %v", order, err)
	}
	if s := read[sent](t, ok(t, append(send, "--json")...)); s.JT != 4_500_000 || s.Posting != 17 {
		t.Errorf("%+v", s)
	}
	for says, args := range map[string][]string{
		"write member:bob or org:bob": {"wallet", "send", "bob", "1 RT"},
		"finer than 0.00001":          {"wallet", "send", "member:bob", "0.000001 RT"},
		"robotorq wallet send":        {"wallet", "send", "member:bob"},
		"unit":                        {"wallet", "send", "member:bob", "5"},
	} {
		fails(t, exitUsage, says, append(args, "--wallet", file, "--url", c.url)...)
	}
	c.refuse = api.CodeInsufficientFunds
	fails(t, exitFailed, "insufficient_funds", send...)
	c.refuse = ""
	for says, spoil := range map[string]func(*proof.Receipt){
		"another order":  func(r *proof.Receipt) { r.Order[0] ^= 1 },
		"another order ": func(r *proof.Receipt) { r.Seq = 18 },
	} {
		c.receipt = spoil
		fails(t, exitFailed, strings.TrimSpace(says), send...)
	}
	c.receipt, c.signer = nil, prooftest.Trust
	fails(t, exitFailed, "receipt does not hold", send...)
}

func TestAnOrderWithoutAnAnswerIsKeptAndSentAgainAsItWas(t *testing.T) {
	r, _ := dataOf(t)
	c := openCounter(t, r)
	file, _ := newWallet(t, "ada")
	c.deaf = true
	o := fails(t, exitFailed, "whether the order was done is not known", "wallet", "send", "member:bob", "1RT", "--wallet", file, "--url", c.url)
	_, kept, _ := strings.Cut(o.err, "--again ")
	kept, _, _ = strings.Cut(kept, "`")
	c.deaf = false
	if o := ok(t, "wallet", "send", "--again", kept, "--wallet", file, "--url", c.url); !strings.Contains(o.out, "Was sent before: 1.00000 RT") {
		t.Errorf("%s", o.out)
	}
	if first := c.orders[0].Digest(); first != c.orders[len(c.orders)-1].Digest() || len(c.orders) < 3 {
		t.Errorf("%d orders were sent, not all the same", len(c.orders))
	}
}

func TestAWalletSignsForNoOtherReserve(t *testing.T) {
	r, _ := dataOf(t)
	c := openCounter(t, r)
	file, _ := newWallet(t, "ada")
	send := []string{"wallet", "send", "member:bob", "1RT", "--wallet", file, "--url", c.url}
	ok(t, send...)
	known := strings.TrimSuffix(file, ".json") + ".reserve"
	data, err := os.ReadFile(known)
	must(t, err)
	before := len(c.orders)
	must(t, os.WriteFile(known, []byte(strings.Replace(string(data), prooftest.Origin, "other.example/log", 1)), 0o600))
	fails(t, exitFailed, "nothing was signed", send...)
	must(t, os.WriteFile(known, []byte(strings.Replace(string(data), r.Pin().String(), strings.Repeat("00", 32), 1)), 0o600))
	fails(t, exitFailed, "charter does not hold", send...)
	if len(c.orders) != before {
		t.Error("an order left the wallet")
	}
}

func TestARegistrarAdmitsMembersOrganisationsAndRobots(t *testing.T) {
	r, dir := dataOf(t)
	c := openCounter(t, r)
	at := []string{"--data", dir, "--url", c.url}
	request := func(o outcome) string {
		path := filepath.Join(t.TempDir(), "request.json")
		must(t, os.WriteFile(path, []byte(o.out), 0o600))
		return path
	}
	_, o := newWallet(t, "ada")
	ada := request(o)
	fails(t, exitUsage, "--subject", append([]string{"members", "enrol", ada}, at...)...)
	if o := ok(t, append([]string{"members", "enrol", ada, "--subject", "passport 1"}, at...)...); !strings.Contains(o.out, "Enrolled member:ada, version 1.") || strings.Contains(o.out, "passport") {
		t.Errorf("%s", o.out)
	}
	first := c.last()
	info, err := os.Stat(filepath.Join(dir, "keys", prooftest.Registrar+".subject"))
	must(t, err)
	if info.Mode().Perm() != 0o600 || info.Size() != 32 || first.Member.Subject.IsZero() || len(first.Keys) != 2 {
		t.Errorf("subject key %v, %+v", info.Mode(), first)
	}
	_, o = newWallet(t, "eve")
	ok(t, append([]string{"members", "enrol", request(o), "--subject", " passport 1 "}, at...)...)
	if c.last().Member.Subject != first.Member.Subject {
		t.Error("one person has two subjects")
	}
	_, o = newWallet(t, "works", "--org")
	ok(t, append([]string{"members", "enrol", request(o)}, at...)...)
	if e := c.last(); e.Org == nil || e.ID != "works" {
		t.Errorf("%+v", e)
	}

	home := t.TempDir()
	enrol := []string{"robot", "enrol", "forge-7", "--owner", "works", "--watts", "350", "--tokens", "60", "--dir", home}
	o = ok(t, enrol...)
	if again := ok(t, enrol...); len(read[robot.Request](t, again).Keys) != 2 || read[robot.Request](t, again).Keys[0].KeyID != read[robot.Request](t, o).Keys[0].KeyID {
		t.Error("the same robot asks with other keys")
	}
	ok(t, append([]string{"members", "enrol", request(o)}, at...)...)
	ok(t, append(append(enrol, "--admit"), at...)...)
	if e := c.last(); e.Robot == nil || e.Robot.Watts != 350 || e.Robot.TokensPerSecond != 60 || e.Robot.Digger != "digger-1" || e.Robot.Energy != robot.Metered {
		t.Errorf("%+v", e)
	}
	fails(t, exitUsage, "neither a", append([]string{"members", "enrol", writeJSONFile(t, map[string]any{"keys": []any{}})}, at...)...)
	fails(t, exitUsage, "money is not known", append([]string{"members", "enrol", writeJSONFile(t, map[string]any{"member": "x", "money": 5})}, at...)...)
	fails(t, exitUsage, "", "robot", "enrol", "forge-8", "--owner", "works")
	fails(t, exitUsage, "say which machine", "robot", "run", "--id", "forge-7", "--dir", home)
	fails(t, exitUsage, "robot enrol forge-9", "robot", "run", "--id", "forge-9", "--virtual", "--dir", t.TempDir())
}
