package client_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/apitest"
	"robotorq.org/reserve/api/client"
	"robotorq.org/reserve/torq"
)

type systemClock struct{}

func (systemClock) Now() time.Time                         { return time.Now() }
func (systemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// lateClock runs behind.
type lateClock struct{ systemClock }

func (lateClock) Now() time.Time { return time.Now().Add(-6 * time.Minute) }

const adaKey = "00112233445566aa"

// node is a node with two members; ada has 5 RT and a key.
func node(t *testing.T) (base string, key client.Key) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	reserve := apitest.New(3, time.Now().UnixMilli())
	reserve.Accounts["member:ada"] = &apitest.Account{KeyID: adaKey, Public: public, JT: 5 * torq.OrePerRT}
	reserve.Accounts["member:bob"] = &apitest.Account{KeyID: "bb", Public: public}
	server, err := api.New(api.Options{Reader: reserve, Wallets: reserve, Tokens: reserve, Feed: api.NewFeed(systemClock{}), Clock: systemClock{}})
	if err != nil {
		t.Fatal(err)
	}
	listener := httptest.NewServer(server.Handler(nil))
	t.Cleanup(listener.Close)
	return listener.URL, client.Key{ID: adaKey, Sign: func(m []byte) ([]byte, error) { return ed25519.Sign(private, m), nil }}
}

func newClient(t *testing.T, base string, options ...client.Option) *client.Client {
	t.Helper()
	c, err := client.New(base, nil, systemClock{}, options...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func order(t *testing.T, id byte, jt torq.JT, memo string) (envelope []byte, orderID string) {
	t.Helper()
	raw := bytes.Repeat([]byte{id}, 16)
	payload, err := cbor.Marshal([]any{"demo.robotorq.org", "member:ada", raw, 1, 2, []any{[]any{"send", "member:bob", uint64(jt), memo}}})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Appendf(nil, `{"payloadType":%q,"payload":%q,"signatures":[{"keyid":"aa","sig":"e30="}]}`, api.OrderType, base64.StdEncoding.EncodeToString(payload)), hex.EncodeToString(raw)
}

func TestMemberPaysAndBothSeeIt(t *testing.T) {
	base, key := node(t)
	c, ctx := newClient(t, base, client.WithKey(key)), context.Background()
	envelope, id := order(t, 1, 36, `=HYPERLINK("evil"), thanks`)
	receipt, err := c.Order(ctx, envelope, id)
	if err != nil || receipt.Repeated || receipt.OrderID != id {
		t.Fatalf("%+v %v", receipt, err)
	}
	again, err := c.Order(ctx, envelope, id)
	if err != nil || !again.Repeated || again.Posting != receipt.Posting {
		t.Errorf("repeated order: %+v %v", again, err)
	}
	balance, err := c.Balance(ctx, "member:ada")
	if err != nil || balance.JT != 5*torq.OrePerRT-36 {
		t.Errorf("%+v %v", balance, err)
	}
	statement, err := c.Statement(ctx, "member:ada", api.Page{Limit: 10})
	if err != nil || len(statement.Items) != 1 || statement.Items[0].JT != -36 {
		t.Errorf("%+v %v", statement, err)
	}
	var table strings.Builder
	if err := c.StatementCSV(ctx, "member:ada", &table); err != nil || !strings.Contains(table.String(), `sent,-36,17999964,-0.00001,4.99999,member:bob,"'=HYPERLINK(""evil""), thanks"`) {
		t.Errorf("%v\n%s", err, table.String())
	}
	bob, err := newClient(t, base, client.WithToken("portal")).Balance(ctx, "member:bob")
	if err != nil || bob.JT != 36 {
		t.Errorf("%+v %v", bob, err)
	}
}

func TestStatementInCSVHoldsEveryPage(t *testing.T) {
	base, key := node(t)
	c, ctx := newClient(t, base, client.WithKey(key)), context.Background()
	for i := range 250 {
		raw, id := order(t, byte(i), 1, "")
		if _, err := c.Order(ctx, raw, id); err != nil {
			t.Fatal(err)
		}
	}
	var table strings.Builder
	if err := c.StatementCSV(ctx, "member:ada", &table); err != nil || strings.Count(table.String(), "\n") != 251 {
		t.Errorf("%v, %d lines", err, strings.Count(table.String(), "\n"))
	}
}

func TestErrorsKeepTheirCode(t *testing.T) {
	base, key := node(t)
	ctx := context.Background()
	c := newClient(t, base, client.WithKey(key))
	tooMuch, id := order(t, 2, 6*torq.OrePerRT, "")
	small, smallID := order(t, 3, 1, "")
	_ = smallID
	for name, check := range map[string]struct {
		call func() error
		code api.Code
	}{
		"too much":            {func() error { _, err := c.Order(ctx, tooMuch, id); return err }, api.CodeInsufficientFunds},
		"other key":           {func() error { _, err := c.Order(ctx, small, id); return err }, api.CodeKeyMismatch},
		"no such certificate": {func() error { _, err := c.Certificate(ctx, 99); return err }, api.CodeNotFound},
		"no such export":      {func() error { return c.Export(ctx, 99, &bytes.Buffer{}) }, api.CodeNotFound},
		"somebody else's":     {func() error { _, err := c.Balance(ctx, "member:bob"); return err }, api.CodeBadSignature},
		"unsigned":            {func() error { _, err := newClient(t, base).Balance(ctx, "member:ada"); return err }, api.CodeTokenMissing},
		"token of other role": {func() error {
			_, err := newClient(t, base, client.WithToken("mesh")).Balance(ctx, "member:ada")
			return err
		}, api.CodeForbidden},
		"token unknown": {func() error {
			_, err := newClient(t, base, client.WithToken("x")).Balance(ctx, "member:ada")
			return err
		}, api.CodeTokenInvalid},
		"admission, no token": {func() error { _, err := newClient(t, base).Admit(ctx, admission("eve")); return err }, api.CodeTokenMissing},
		"admission by portal": {func() error {
			_, err := newClient(t, base, client.WithToken("portal")).Admit(ctx, admission("eve"))
			return err
		}, api.CodeForbidden},
		"admitted already": {func() error {
			_, err := newClient(t, base, client.WithToken("registrar")).Admit(ctx, admission("ada"))
			return err
		}, api.CodeDuplicate},
		"enrolment, not typed": {func() error { _, err := c.Enrol(ctx, small); return err }, api.CodeMalformed},
	} {
		if err := check.call(); !client.Is(err, check.code) {
			t.Errorf("%s: %v, want %s", name, err, check.code)
		}
	}
}

func admission(member string) api.Admission {
	return api.Admission{Member: member, Subject: "passport 1", Keys: []api.AdmissionKey{{Alg: "ed25519", Public: make([]byte, 32)}}}
}

func TestRegistrarAdmitsMember(t *testing.T) {
	base, _ := node(t)
	enrolled, err := newClient(t, base, client.WithToken("registrar")).Admit(context.Background(), admission("eve"))
	if err != nil || enrolled.Account != "member:eve" {
		t.Errorf("%+v %v", enrolled, err)
	}
	envelope := fmt.Appendf(nil, `{"payloadType":%q,"payload":"e30=","signatures":[{"keyid":"aa","sig":"e30="}]}`, api.EnrolmentType)
	if enrolled, err = newClient(t, base).Enrol(context.Background(), envelope); err != nil || !bytes.Equal(enrolled.Envelope, envelope) {
		t.Errorf("%+v %v", enrolled, err)
	}
}

func TestSignatureOfOtherRequestTimeOrKeyIsRefused(t *testing.T) {
	base, key := node(t)
	late, err := client.New(base, nil, lateClock{}, client.WithKey(key))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := late.Balance(context.Background(), "member:ada"); !client.Is(err, api.CodeBadSignature) {
		t.Errorf("a request signed six minutes ago: %v", err)
	}
	const path = "/api/v1/wallets/member:ada/statement?limit=5"
	for name, change := range map[string]func(*http.Request){
		"nothing":      func(*http.Request) {},
		"query":        func(r *http.Request) { r.URL.RawQuery = "limit=6" },
		"path":         func(r *http.Request) { r.URL.Path, r.URL.RawQuery = "/api/v1/wallets/member:ada", "limit=5" },
		"host":         func(r *http.Request) { r.Host = "localhost:1" },
		"components":   func(r *http.Request) { replaceHeader(r, "Signature-Input", ` "@query"`, "") },
		"time":         func(r *http.Request) { replaceHeader(r, "Signature-Input", "created=1", "created=2") },
		"key":          func(r *http.Request) { replaceHeader(r, "Signature-Input", adaKey, "0011223344556677") },
		"signature":    func(r *http.Request) { r.Header.Set("Signature", "robotorq=:"+strings.Repeat("A", 86)+"==:") },
		"no signature": func(r *http.Request) { r.Header.Del("Signature") },
	} {
		r, err := http.NewRequest(http.MethodGet, base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := api.SignRequest(r, key.ID, time.Now(), key.Sign); err != nil {
			t.Fatal(err)
		}
		change(r)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if passed := answer.StatusCode == http.StatusOK; passed != (name == "nothing") {
			t.Errorf("%s changed: %s", name, answer.Status)
		}
	}
}

func replaceHeader(r *http.Request, name, old, with string) {
	r.Header.Set(name, strings.Replace(r.Header.Get(name), old, with, 1))
}

func TestReadsWhatThePagesShow(t *testing.T) {
	base, _ := node(t)
	c, ctx := newClient(t, base), context.Background()
	if o, err := c.Overview(ctx); err != nil || o.Mint.Certificates != 3 {
		t.Errorf("%+v %v", o, err)
	}
	if list, err := c.Certificates(ctx, api.Page{Limit: 2}); err != nil || len(list.Items) != 2 || list.Next == "" {
		t.Errorf("%+v %v", list, err)
	}
	var proof bytes.Buffer
	if err := c.OreProof(ctx, 1, 5, &proof); err != nil || !json.Valid(proof.Bytes()) {
		t.Errorf("%v %s", err, proof.String())
	}
	for name, call := range map[string]func() error{
		"charter":  func() error { _, err := c.Charter(ctx); return err },
		"policy":   func() error { _, err := c.Policy(ctx); return err },
		"reserve":  func() error { _, err := c.Reserve(ctx); return err },
		"contract": func() error { _, err := c.Contract(ctx, 1); return err },
		"robot":    func() error { _, err := c.Robot(ctx, "alba"); return err },
	} {
		if err := call(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatIsNoNodeIsSaidToBeNone(t *testing.T) {
	listener := httptest.NewServer(http.NotFoundHandler())
	defer listener.Close()
	if _, err := newClient(t, listener.URL).Overview(context.Background()); err == nil || !strings.Contains(err.Error(), "not from a reserve node") {
		t.Error(err)
	}
	listener.Close()
	if _, err := newClient(t, listener.URL).Overview(context.Background()); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Error(err)
	}
	for _, base := range []string{"", "localhost:8080", "ftp://x", "http://"} {
		if _, err := client.New(base, nil, systemClock{}); err == nil {
			t.Errorf("%q is taken for an address", base)
		}
	}
}
