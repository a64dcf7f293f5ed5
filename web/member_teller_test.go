package web_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// teller is a node's HTTP side as the page of a wallet uses it: real charters and real
// receipts, signed by the vault's keys, over books of two numbers. What the reserve itself
// does with an order, the commands' tests show on a real one.
type teller struct {
	t       *testing.T
	reserve *prooftest.Reserve
	url     string

	mu       sync.Mutex
	held     map[string]torq.JT
	receipts map[[16]byte]api.Receipt // by order id
	posted   []ledger.Order
	envelope map[[16]byte]merkle.Hash // what was sent under an order id
	changed  chan struct{}            // wakes the live pages
	answer   http.HandlerFunc         // instead of a receipt, if not nil
}

func openTeller(t *testing.T) *teller {
	t.Helper()
	b := &teller{t: t, reserve: prooftest.New(t, torq.Standard()), held: map[string]torq.JT{"member:ada": 4_500_000, "member:bob": 36}, receipts: map[[16]byte]api.Receipt{}, envelope: map[[16]byte]merkle.Hash{}, changed: make(chan struct{}, 8)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/charter", func(w http.ResponseWriter, _ *http.Request) {
		var raw []json.RawMessage
		for _, v := range b.reserve.Registry.Charters() {
			text, err := json.Marshal(v.Envelope)
			b.must(err)
			raw = append(raw, text)
		}
		b.says(w, api.Charter{Origin: prooftest.Origin, Envelopes: raw})
	})
	mux.HandleFunc("POST /api/v1/orders", b.order)
	mux.HandleFunc("GET /api/v1/wallets/{account}", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Signature") == "" && r.Header.Get("Authorization") == "" {
			api.WriteProblem(w, r, api.Errorf(api.CodeTokenMissing, "A wallet is shown to its owner."))
			return
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.says(w, api.Balance{Account: r.PathValue("account"), Status: "active", JT: b.held[r.PathValue("account")], Eligible: true, Leaving: []api.Leaving{}})
	})
	mux.HandleFunc("GET /api/v1/wallets/{account}/statement", func(w http.ResponseWriter, r *http.Request) {
		b.says(w, api.List[api.StatementLine]{Items: b.lines(r.PathValue("account"))})
	})
	mux.HandleFunc("GET /api/v1/wallets/{account}/orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		api.WriteProblem(w, r, api.Errorf(api.CodeNotFound, "No such order."))
	})
	mux.HandleFunc("GET /api/v1/reserve", func(w http.ResponseWriter, _ *http.Request) { b.says(w, api.Reserve{Demurrage: "0.06"}) })
	mux.HandleFunc("GET /api/v1/policy", func(w http.ResponseWriter, _ *http.Request) {
		d, err := policy.Default(prooftest.Origin, prooftest.Genesis)
		b.must(err)
		document, err := d.Encode()
		b.must(err)
		b.says(w, api.Policy{Version: 1, Document: document})
	})
	mux.HandleFunc("GET /api/v1/people/{account}", func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if _, known := b.held[r.PathValue("account")]; !known {
			api.WriteProblem(w, r, api.Errorf(api.CodeUnknownAccount, "Nobody."))
			return
		}
		b.says(w, api.Person{Account: r.PathValue("account"), Status: "active"})
	})
	mux.HandleFunc("GET /api/v1/events", b.events)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	b.url = server.URL
	return b
}

func (b *teller) must(err error) {
	if err != nil {
		b.t.Error(err)
	}
}

func (b *teller) says(w http.ResponseWriter, v any) { b.must(json.NewEncoder(w).Encode(v)) }

func (b *teller) order(w http.ResponseWriter, r *http.Request) {
	var env seal.Envelope
	data, err := io.ReadAll(r.Body)
	b.must(err)
	b.must(json.Unmarshal(data, &env))
	o, err := ledger.OrderFrom(env)
	b.must(err)
	b.mu.Lock()
	defer b.mu.Unlock()
	if first, known := b.envelope[o.ID]; known && first != env.Digest() {
		b.t.Error("one order id stands for two orders")
	}
	b.envelope[o.ID] = env.Digest()
	if b.answer != nil {
		b.answer(w, r)
		return
	}
	if first, done := b.receipts[o.ID]; done {
		first.Repeated = true
		b.says(w, first)
		return
	}
	for _, op := range o.Operations {
		b.held[o.From] -= torq.JT(op.Amount)
		b.held[op.To] += torq.JT(op.Amount)
	}
	b.posted = append(b.posted, o)
	receipt := proof.Receipt{Origin: prooftest.Origin, Order: o.ID, Seq: uint64(len(b.posted)), Issued: b.reserve.Now}
	text, err := json.Marshal(b.reserve.Sign(prooftest.Vault, proof.TypeReceipt, receipt.Encode()))
	b.must(err)
	b.receipts[o.ID] = api.Receipt{Envelope: text, OrderID: fmt.Sprintf("%x", o.ID), Posting: receipt.Seq, Hash: receipt.Posting.String()}
	b.says(w, b.receipts[o.ID])
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// lines are an account's movements, newest first.
func (b *teller) lines(account string) []api.StatementLine {
	b.mu.Lock()
	defer b.mu.Unlock()
	lines := []api.StatementLine{}
	for i := len(b.posted) - 1; i >= 0; i-- {
		o := b.posted[i]
		for _, op := range o.Operations {
			l := api.StatementLine{Posting: uint64(i + 1), Time: int64(o.Created), Memo: op.Memo}
			switch account {
			case o.From:
				l.Kind, l.JT, l.Other = "sent", -torq.JT(op.Amount), op.To
			case op.To:
				l.Kind, l.JT, l.Other = "received", torq.JT(op.Amount), o.From
			default:
				continue
			}
			lines = append(lines, l)
		}
	}
	return lines
}

func (b *teller) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	control := http.NewResponseController(w)
	b.must(control.Flush())
	for {
		select {
		case <-r.Context().Done():
			return
		case <-b.changed:
			fmt.Fprint(w, "event: posting\ndata: {}\n\n")
			if control.Flush() != nil {
				return
			}
		}
	}
}

// orders is how many different orders came.
func (b *teller) orders() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.envelope)
}
