package chain_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"robotorq.org/reserve/market/address"
	"robotorq.org/reserve/market/chain"
	"robotorq.org/reserve/market/rails"
)

// said is a node that answers each method with a fixed text: what real nodes say
// only when something is wrong with them.
func said(t *testing.T, answers map[string]string) *chain.Node {
	t.Helper()
	with := map[string]string{
		"getblockchaininfo": `{"result":{"chain":"regtest","blocks":7,"bestblockhash":"aa"}`,
		"getwalletinfo":     `{"result":{"private_keys_enabled":true}`,
	}
	for method, text := range answers {
		with[method] = text
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var asked struct {
			ID     int64
			Method string
		}
		if err := json.Unmarshal(body, &asked); err != nil {
			t.Error(err)
		}
		text, ok := with[asked.Method]
		switch {
		case !ok:
			text = `{"error":{"code":-32601,"message":"Method not found"}`
		case text == "cut":
			panic(http.ErrAbortHandler)
		case strings.HasPrefix(text, "status "):
			var status int
			fmt.Sscanf(text, "status %d", &status)
			w.WriteHeader(status)
			return
		}
		fmt.Fprintf(w, `%s,"id":%d}`, text, asked.ID)
	}))
	t.Cleanup(server.Close)
	n, err := chain.Dial(t.Context(), chain.Options{URL: strings.Replace(server.URL, "http://", "http://u:secret@", 1) + "/wallet/w", Network: address.Regtest})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func no(code int, words string) string {
	return fmt.Sprintf(`{"error":{"code":%d,"message":%q}`, code, words)
}

func TestWhatTheNodeSaysToATransaction(t *testing.T) {
	for _, row := range []struct {
		answer string
		want   rails.BroadcastState
	}{
		{`{"result":"aa"`, rails.InMempool},
		{no(-27, "Transaction outputs already in utxo set"), rails.InBlock},
		{no(-27, "Transaction already in block chain"), rails.InBlock},
		{no(-26, "txn-already-known"), rails.InBlock},
		{no(-26, "txn-already-in-mempool"), rails.InMempool},
		{no(-26, "txn-mempool-conflict"), rails.Replaced},
		{no(-26, "insufficient fee, rejecting replacement 1a; new feerate 0.00003 BTC/kvB <= old feerate 0.00015 BTC/kvB"), rails.Replaced},
		{no(-26, "bad-txns-spends-conflicting-tx, 1a spends conflicting transaction 2b"), rails.Replaced},
		{no(-25, "bad-txns-inputs-missingorspent"), rails.InputsMissing},
		{no(-25, "Missing inputs"), rails.InputsMissing},
		{no(-26, "non-final"), rails.NonFinal},
		{no(-26, "non-BIP68-final"), rails.NonFinal},
		{no(-26, "bad-txns-premature-spend-of-coinbase, tried to spend coinbase at depth 3"), rails.NonFinal},
		{no(-26, "min relay fee not met, 100 < 200"), rails.Rejected},
		{no(-26, "mempool min fee not met, 100 < 200"), rails.Rejected},
		{no(-26, "dust"), rails.Rejected},
		{no(-26, "tx-size"), rails.Rejected},
		{no(-22, "TX decode failed. Make sure the tx has at least one input."), rails.Rejected},
	} {
		n := said(t, map[string]string{
			"sendrawtransaction":   row.answer,
			"decoderawtransaction": `{"result":{"txid":"aa"}`,
			"gettransaction":       no(-5, "Invalid or non-wallet transaction id"),
		})
		got, err := n.Broadcast(t.Context(), []byte{1})
		if err != nil || got.State != row.want {
			t.Errorf("%s: %+v, %v; want %s", row.answer, got, err, row.want)
		}
	}
}

func TestATransactionWhoseOutputsAreSpentIsStillInItsBlock(t *testing.T) {
	n := said(t, map[string]string{
		"sendrawtransaction":   no(-25, "bad-txns-inputs-missingorspent"),
		"decoderawtransaction": `{"result":{"txid":"aa"}`,
		"gettransaction":       `{"result":{"txid":"aa","confirmations":3,"blockhash":"bb","blockheight":5}`,
	})
	if got, err := n.Broadcast(t.Context(), []byte{1}); err != nil || got.State != rails.InBlock {
		t.Errorf("%+v, %v", got, err)
	}
}

// A caller may only conclude "it did not happen" from a node that said so.
func TestALostReplyIsNoRefusal(t *testing.T) {
	for name, answer := range map[string]string{
		"cut": "cut", "overload": "status 503", "another's credentials": "status 401", "nonsense": "<html>", "a gateway": "status 502",
		"warming up": no(-28, "Loading block index…"), "in initial sync": no(-10, "in initial sync"), "no wallet": no(-18, "Requested wallet does not exist or is not loaded"),
	} {
		n := said(t, map[string]string{"sendrawtransaction": answer, "walletcreatefundedpsbt": answer})
		if got, err := n.Broadcast(t.Context(), []byte{1}); err == nil || rails.ClassOf(err) != rails.Unavailable {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if _, err := n.Build(t.Context(), request(546, legacy)); rails.ClassOf(err) != rails.Unavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
}

const legacy = "mrCDrCybB6J1vRfbwM5hemdJz73FwDBC8r"

func request(sats int64, to string) rails.BuildRequest {
	return rails.BuildRequest{Outputs: []rails.Output{{Address: to, Sats: sats}}, Rate: 2_000, MaxFeeSats: 10_000}
}

func TestALockedOrEmptyWalletMayPayLater(t *testing.T) {
	for _, answer := range []string{no(-13, "Please enter the wallet passphrase"), no(-4, "Insufficient funds"), no(-6, "Insufficient funds")} {
		n := said(t, map[string]string{"walletcreatefundedpsbt": answer})
		if _, err := n.Build(t.Context(), request(546, legacy)); rails.ClassOf(err) != rails.Insufficient {
			t.Errorf("%s: %v", answer, err)
		}
	}
}

func TestNoErrorShowsTheCredentials(t *testing.T) {
	n := said(t, map[string]string{"getbalances": "cut", "listunspent": "cut"})
	_, err := n.Balance(t.Context())
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
	for _, url := range []string{"http://u:secret@127.0.0.1:1/wallet/w", "u:secret@host", "http://u:secret@[", "ftp://u:secret@h"} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		n, err := chain.Dial(ctx, chain.Options{URL: url, Network: address.Regtest})
		if err == nil {
			_, err = n.Tip(ctx)
		}
		cancel()
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestFloatsWithAnExponentAreNoAmounts(t *testing.T) {
	n := said(t, map[string]string{
		"listunspent":     `{"result":[{"amount":1e-8,"confirmations":1,"spendable":true,"safe":true}]`,
		"listlockunspent": `{"result":[]`})
	if b, err := n.Balance(t.Context()); err == nil {
		t.Errorf("%+v", b)
	}
}
