package lightning_test

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"robotorq.org/reserve/market/address"
	"robotorq.org/reserve/market/lightning"
	"robotorq.org/reserve/market/rails"
)

// reply is an answer with a status; 0 cuts the connection.
type reply struct {
	status int
	text   string
}

// said is a node that answers every request but the first look at it with one text.
func said(t *testing.T, status int, text string) *lightning.Node {
	t.Helper()
	return says(t, map[string]reply{"": {status, text}})
}

// says is a node that answers by the beginning of the path.
func says(t *testing.T, answers map[string]reply) *lightning.Node {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Grpc-Metadata-macaroon") != "7365637265742d6d616361726f6f6e" {
			t.Error("no macaroon")
		}
		if r.URL.Path == "/v1/getinfo" {
			fmt.Fprint(w, `{"block_height":7,"synced_to_chain":true,"chains":[{"chain":"bitcoin","network":"regtest"}]}`)
			return
		}
		best := ""
		for path := range answers {
			if strings.HasPrefix(r.URL.Path, path) && len(path) > len(best) {
				best = path
			}
		}
		if answers[best].status == 0 {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(answers[best].status)
		fmt.Fprint(w, answers[best].text)
	}))
	t.Cleanup(server.Close)
	macaroon := filepath.Join(t.TempDir(), "macaroon")
	if err := os.WriteFile(macaroon, []byte("secret-macaroon"), 0o600); err != nil {
		t.Fatal(err)
	}
	n, err := lightning.Dial(t.Context(), lightning.Options{URL: server.URL, Macaroon: macaroon, Network: address.Regtest, HTTP: server.Client()})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A caller may only conclude "it did not happen" from a node that said so.
func TestWhatMayBeConcludedFromAnAnswer(t *testing.T) {
	for _, row := range []struct {
		name   string
		status int
		text   string
		want   rails.Class
	}{
		{"cut", 0, "", rails.Unavailable},
		{"starting", 500, `{"code":2,"message":"the RPC server is in the process of starting up, but not yet ready to accept calls"}`, rails.Unavailable},
		{"locked", 500, `{"code":2,"message":"wallet locked, unlock it to enable full RPC access"}`, rails.Unavailable},
		{"another's macaroon", 500, `{"code":2,"message":"verification failed: signature mismatch after caveat verification"}`, rails.Unavailable},
		{"unavailable", 503, `{"code":14,"message":"connection refused"}`, rails.Unavailable},
		{"internal", 500, `{"code":13,"message":"panic"}`, rails.Unavailable},
		{"a gateway", 502, `<html>bad gateway</html>`, rails.Unavailable},
		{"an empty object", 500, `{}`, rails.Unavailable},
		{"nonsense", 200, `<html>`, rails.Unavailable},
		{"a redirection", 307, ``, rails.Unavailable},
		{"an unknown state", 200, `{"r_hash":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","state":"SOMETHING","value":"1","amt_paid_sat":"0","creation_date":"0","expiry":"1"}`, rails.Unavailable},
		{"not found", 404, `{"code":5,"message":"unable to locate invoice"}`, rails.NotFound},
		{"no invoices", 500, `{"code":2,"message":"there are no existing invoices"}`, rails.NotFound},
		{"refused", 500, `{"code":2,"message":"something else"}`, rails.Refused},
	} {
		n := said(t, row.status, row.text)
		_, err := n.Invoice(t.Context(), rails.Hash{})
		if err == nil || rails.ClassOf(err) != row.want || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %s", row.name, err, row.want)
		}
		if row.want != rails.Unavailable {
			continue
		}
		if row.name == "an unknown state" {
			continue // to the rest this is a success
		}
		if err := n.SettleHold(t.Context(), rails.Preimage{1}); rails.ClassOf(err) != rails.Unavailable || err == nil {
			t.Errorf("%s: settled: %v", row.name, err)
		}
		if _, err := n.Payment(t.Context(), rails.Hash{}); rails.ClassOf(err) != rails.Unavailable || err == nil {
			t.Errorf("%s: payment: %v", row.name, err)
		}
		if err := n.Follow(t.Context(), rails.Hash{}, func(rails.Invoice) {}); rails.ClassOf(err) != rails.Unavailable || err == nil {
			t.Errorf("%s: follow: %v", row.name, err)
		}
	}
}

func inState(state string) string {
	return fmt.Sprintf(`{"r_hash":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","state":%q,"value":"1","amt_paid_sat":"0","creation_date":"0","expiry":"1"}`, state)
}

// lnd's stores differ in whether they refuse what is so already.
func TestWhatIsSoAlreadyIsNoRefusal(t *testing.T) {
	for _, row := range []struct {
		state             string
		settled, canceled rails.Class
	}{{"SETTLED", "", rails.Refused}, {"CANCELED", rails.Refused, ""}, {"OPEN", rails.Refused, rails.Refused}} {
		n := says(t, map[string]reply{
			"/v1/invoice/":        {200, strings.Replace(inState(row.state), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", hashOfZero, 1)},
			"/v2/invoices/settle": {500, `{"code":2,"message":"invoice already settled"}`},
			"/v2/invoices/cancel": {500, `{"code":2,"message":"invoice already canceled"}`},
		})
		if err := n.SettleHold(t.Context(), rails.Preimage{}); err != nil && rails.ClassOf(err) != row.settled || err == nil && row.settled != "" {
			t.Errorf("settle what is %s: %v", row.state, err)
		}
		if err := n.CancelInvoice(t.Context(), sha256.Sum256(make([]byte, 32))); err != nil && rails.ClassOf(err) != row.canceled || err == nil && row.canceled != "" {
			t.Errorf("cancel what is %s: %v", row.state, err)
		}
	}
}

// hashOfZero is SHA-256 of 32 zero bytes.
const hashOfZero = "Zmh6rfhivXdsj8GLjp+OIAiXFIVu4jOzkCpZHQ1fKSU="

func TestASubscriptionThatEndsEarlyIsNoEnd(t *testing.T) {
	for _, state := range []string{"OPEN", "SETTLED"} {
		n := says(t, map[string]reply{"/v2/invoices/subscribe/": {200, `{"result":` + inState(state) + `}`}})
		err := n.Follow(t.Context(), rails.Hash{}, func(rails.Invoice) {})
		if state == "SETTLED" && err != nil || state == "OPEN" && (err == nil || rails.ClassOf(err) != rails.Unavailable) {
			t.Errorf("%s: %v", state, err)
		}
	}
}

// What a caller may conclude from a request to pay, by what lnd says to it and
// what it knows of the payment afterwards.
func TestTheFateOfAPayment(t *testing.T) {
	const bolt11 = "lnbcrt1test"
	zero := strings.Repeat("0", 64)
	known := func(status string) reply {
		return reply{200, fmt.Sprintf(`{"result":{"payment_hash":%q,"status":%q,"value_sat":"5","fee_msat":"1","failure_reason":"FAILURE_REASON_TIMEOUT","htlcs":[{}]}}`, zero, status)}
	}
	none := reply{404, `{"code":5,"message":"payment isn't initiated"}`}
	for _, row := range []struct {
		name        string
		sent, track reply
		class       rails.Class
		state       rails.PaymentState
	}{
		{"refused and unknown", reply{500, `{"code":2,"message":"invoice expired"}`}, none, rails.Refused, ""},
		{"refused, failed before", reply{500, `{"code":2,"message":"invoice expired"}`}, known("FAILED"), rails.Refused, ""},
		{"refused, on its way since before", reply{500, `{"code":2,"message":"invoice expired"}`}, known("IN_FLIGHT"), "", rails.PaymentInFlight},
		{"refused, paid before", reply{500, `{"code":2,"message":"invoice expired"}`}, known("SUCCEEDED"), "", rails.PaymentSucceeded},
		{"paid already", reply{409, `{"code":6,"message":"invoice is already paid"}`}, known("SUCCEEDED"), "", rails.PaymentSucceeded},
		{"under way, failed meanwhile", reply{409, `{"code":6,"message":"payment is in transition"}`}, known("FAILED"), "", rails.PaymentFailed},
		{"lost and unknown", reply{}, none, rails.Unavailable, ""},
		{"lost, failed before or now", reply{}, known("FAILED"), rails.Unavailable, ""},
		{"lost, on its way", reply{}, known("IN_FLIGHT"), "", rails.PaymentInFlight},
		{"lost, arrived", reply{}, known("SUCCEEDED"), "", rails.PaymentSucceeded},
		{"lost, and lnd is away", reply{}, reply{}, rails.Unavailable, ""},
		{"starting and unknown", reply{500, `{"code":2,"message":"not yet ready to accept calls"}`}, none, rails.Unavailable, ""},
		{"answered, on its way", known("IN_FLIGHT"), reply{}, "", rails.PaymentInFlight},
		{"answered, arrived", known("SUCCEEDED"), reply{}, "", rails.PaymentSucceeded},
		{"answered, failed", known("FAILED"), reply{}, "", rails.PaymentFailed},
		{"another payment's answer", reply{200, `{"result":{"payment_hash":"aa","status":"SUCCEEDED","value_sat":"5","fee_msat":"1"}}`}, none, rails.Unavailable, ""},
	} {
		n := says(t, map[string]reply{
			"/v1/payreq/":      {200, fmt.Sprintf(`{"destination":"02","payment_hash":%q,"num_msat":"5000","timestamp":"1","expiry":"9"}`, zero)},
			"/v2/router/send":  row.sent,
			"/v2/router/track": row.track,
		})
		v, err := n.Pay(t.Context(), rails.PayRequest{Bolt11: bolt11, AmountSats: 5})
		class := rails.Class("")
		if err != nil {
			class = rails.ClassOf(err)
		}
		if class != row.class || v.State != row.state {
			t.Errorf("%s: %+v, %v", row.name, v, err)
		}
	}
}

func TestOptionsThatCannotWorkAreInvalid(t *testing.T) {
	macaroon := filepath.Join(t.TempDir(), "macaroon")
	if err := os.WriteFile(macaroon, []byte("secret-macaroon"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]lightning.Options{
		"no encryption":  {URL: "http://127.0.0.1:1", Macaroon: macaroon},
		"no address":     {URL: "", Macaroon: macaroon},
		"no macaroon":    {URL: "https://127.0.0.1:1"},
		"no certificate": {URL: "https://127.0.0.1:1", Macaroon: macaroon, TLSCert: macaroon},
	} {
		o.Network = address.Regtest
		if _, err := lightning.Dial(t.Context(), o); rails.ClassOf(err) != rails.Invalid || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
