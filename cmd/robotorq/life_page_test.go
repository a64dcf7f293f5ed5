//go:build whole

package main

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/wallet"
)

// browser is somebody's browser with the page of a wallet.
type browser struct {
	t    *testing.T
	http *http.Client
	base string // of the session
	form string
	seen *bytes.Buffer // every byte that came, bonds' prints left out
}

// opensPage starts `wallet page` for a wallet and opens its link.
func (x *town) opensPage(id string, args ...string) *browser {
	x.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var out, errs gathered
	ended := make(chan int, 1)
	all := append([]string{"wallet", "page", "--wallet", x.wallet(id), "--url", x.url, "--json", "--bonds", filepath.Join(x.dir, id+"-bonds")}, args...)
	go func() { ended <- run(ctx, all, streams{In: strings.NewReader(""), Out: &out, Err: &errs}) }()
	x.t.Cleanup(func() {
		cancel()
		if code := <-ended; code != exitOK {
			x.t.Errorf("wallet page ended with %d: %s", code, errs.String())
		}
	})
	x.until(id+"'s page is there", func() bool { return strings.Contains(out.String(), "}") })
	var p openedPage
	must(x.t, json.Unmarshal([]byte(out.String()), &p))
	jar, err := cookiejar.New(nil)
	must(x.t, err)
	b := &browser{t: x.t, http: &http.Client{Jar: jar, Timeout: 2 * time.Minute}, seen: &bytes.Buffer{}}
	page := b.asks("GET", p.Link, nil, 0)
	b.base = strings.TrimSuffix(page.url, "/")
	b.form = regexp.MustCompile(`name="form" value="([^"]+)"`).FindStringSubmatch(b.get("/book").text)[1]
	return b
}

type answer struct{ url, text string }

// asks sends a request; want is the status, 0 for any.
func (b *browser) asks(method, at string, form url.Values, want int) answer {
	b.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	q, err := http.NewRequest(method, at, body)
	must(b.t, err)
	if form != nil {
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		q.Header.Set("Origin", q.URL.Scheme+"://"+q.URL.Host)
		q.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	r, err := b.http.Do(q)
	must(b.t, err)
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	must(b.t, err)
	if r.StatusCode != want && want != 0 {
		b.t.Fatalf("%s %s: %s\n%s", method, at, r.Status, text)
	}
	if !strings.Contains(at, "/print") {
		b.seen.Write(text)
	}
	return answer{r.Request.URL.String(), string(text)}
}

func (b *browser) get(path string) answer {
	b.t.Helper()
	return b.asks("GET", b.base+path, nil, http.StatusOK)
}

// post sends a form of the session and follows where it leads.
func (b *browser) post(path string, want int, fields ...string) answer {
	b.t.Helper()
	form := url.Values{"form": {b.form}}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return b.asks("POST", b.base+path, form, want)
}

// signs prepares an order and confirms it.
func (b *browser) signs(path string, fields ...string) answer {
	b.t.Helper()
	order := b.post(path, http.StatusOK, fields...)
	if !strings.Contains(order.text, "Sign and send") {
		b.t.Fatalf("nothing to sign: %s", order.text)
	}
	done := b.post(strings.TrimPrefix(order.url, b.base), http.StatusOK)
	if !strings.Contains(done.text, "<b>Done.</b>") {
		b.t.Fatalf("not done: %s", done.text)
	}
	return done
}

func contains(t *testing.T, page answer, wanted ...string) {
	t.Helper()
	for _, w := range wanted {
		if !strings.Contains(page.text, w) {
			t.Errorf("%s: no %q in %s", page.url, w, page.text)
		}
	}
}

func TestMembersLiveTheirLifeOnTheirPages(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute of a robot's work")
	}
	x := openTown(t, `{"min_members": 2, "demurrage_per_year": "0.06", "genesis_growth": "0.1", "stake_target": 36000000, "bond_cap": "0.25",
		"release_every": 1000, "backlog_over": 1000}`)
	x.rich()
	ada, bob := x.opensPage("ada"), x.opensPage("bob")

	// A payment, and both see it; bob's page hears of it by itself.
	heard := make(chan error, 1)
	go func() { heard <- bob.hears() }()
	contains(t, ada.post("/book", http.StatusOK, "name", "Bob the baker", "account", "member:bob"), "Bob the baker")
	order := ada.post("/pay", http.StatusOK, "to", "Bob the baker", "amount", "0.25 RT", "memo", "for <the> chair")
	contains(t, order, "Bob the baker · member:bob", "900,000 JT", "for &lt;the&gt; chair", "Sign and send")
	before := x.balance("bob").JT
	path := strings.TrimPrefix(order.url, ada.base)
	first, second := ada.post(path, http.StatusOK), ada.post(path, http.StatusOK)
	contains(t, first, "<b>Done.</b>", "receipt")
	contains(t, second, "<b>Done.</b>")
	if got := x.balance("bob").JT - before; got < 900_000 || got >= 1_800_000 {
		t.Errorf("a payment that was confirmed twice brought %d JT", got)
	}
	contains(t, bob.get("/"), "Received", "for &lt;the&gt; chair", "member:ada")
	contains(t, ada.get("/"), "Sent", "Bob the baker")
	if err := <-heard; err != nil {
		t.Errorf("the live page: %v", err)
	}
	if csv := bob.get("/statement/csv").text; !strings.HasPrefix(csv, "posting,time,kind") || !strings.Contains(csv, ",received,900000,") {
		t.Errorf("%s", csv)
	}
	if csv := bob.get("/statement/csv?to=2020-01-01").text; strings.Count(csv, "\n") != 1 {
		t.Errorf("a period before the reserve: %s", csv)
	}
	if s := bob.get("/statement/json").text; !strings.Contains(s, `"account": "member:bob"`) || !strings.Contains(s, `"received"`) {
		t.Errorf("%s", s)
	}
	contains(t, ada.get("/statement"), "Dividend", "Sent")

	contains(t, ada.signs("/savings/save", "amount", "0.5 RT"), "Move into savings")
	contains(t, ada.signs("/savings/leave", "amount", "0.125 RT"), "Give notice")
	contains(t, ada.get("/savings"), "0<span class=\"dec\">.37500", "Under notice")
	contains(t, ada.post("/savings/leave", http.StatusUnprocessableEntity, "amount", "9 RT"), "saved")

	x.bondsOnPages(ada, bob)
	x.until("a statement of solvency is logged", func() bool {
		return strings.Contains(ada.post("/check/solvency", http.StatusOK).text, "<b>Counted.</b>")
	})
	contains(t, ada.post("/check/receipts", http.StatusOK), "The books hold every receipt")

	watching := filepath.Join(x.dir, "watching.json")
	ok(t, "wallet", "watch", "member:bob", "--wallet", watching)
	watcher := x.opensPage("watching")
	contains(t, watcher.asks("GET", watcher.base+"/", nil, http.StatusUnauthorized), "Only watched", "--token")
	contains(t, watcher.post("/pay", http.StatusForbidden, "to", "member:ada", "amount", "1 JT"), "its keys are elsewhere")

	x.keptSecret(ada)
	x.audited()
}

// hears waits for the live page to say that the balance has changed.
func (b *browser) hears() error {
	q, err := http.NewRequest("GET", b.base+"/events", nil)
	if err != nil {
		return err
	}
	q.Header.Set("Sec-Fetch-Dest", "empty")
	r, err := b.http.Do(q)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	buffer, text := make([]byte, 256), ""
	for strings.Count(text, "event: reset") < 2 { // the first is of the connection
		n, err := r.Body.Read(buffer)
		if text += string(buffer[:n]); err != nil {
			return fmt.Errorf("%w after %q", err, text)
		}
	}
	return nil
}

// bondsOnPages is a bond issued, printed, taken by another and redeemed.
func (x *town) bondsOnPages(ada, bob *browser) {
	t := x.t
	contains(t, ada.post("/bonds", http.StatusUnprocessableEntity, "amount", "1.5 RT"), "whole RT", "aria-invalid")
	contains(t, ada.signs("/bonds", "amount", "1 RT"), "It is bond 1.")
	x.until("the bond's file is there", func() bool { return strings.Contains(ada.get("/bonds").text, "bond-1.json") })
	contains(t, ada.get("/bonds/1"), "Good for 1 RT", "signed by", "Show the print")
	contains(t, ada.get("/bonds/1/print"), "Each of these files is the money", "note.svg", "coin.png")
	for as, begins := range map[string]string{"note.svg": "<", "note.pdf": "%PDF", "coin.png": "\x89PNG", "coin.3mf": "PK", "coin.stl": "RoboTorq", "tag.ndef": "\x03"} {
		if file := ada.get("/bonds/1/print/" + as + "?address=" + url.QueryEscape("https://reserve.example/bonds/1")).text; !strings.HasPrefix(file, begins) {
			t.Errorf("%s begins with %q", as, file[:min(16, len(file))])
		}
	}
	secrets, err := filepath.Glob(filepath.Join(x.dir, "ada-bonds", "*.secret"))
	must(t, err)
	kept, err := wallet.ReadSecret(secrets[0], "")
	must(t, err)
	contains(t, bob.post("/bonds/check", http.StatusOK, "serial", "1"), "Bond 1 of 1 RT holds", "still good")
	contains(t, bob.post("/bonds/take", http.StatusUnprocessableEntity, "serial", "x", "secret", "rtqsk1"), "number that is printed")
	contains(t, bob.post("/bonds/take", http.StatusOK, "serial", "1", "secret", kept.Secret.Text(), "as", "reissue"), "is yours")
	x.until("the reissued bond's file is there", func() bool { return strings.Contains(bob.get("/bonds").text, "bond-1.json") })
	contains(t, ada.get("/bonds/1"), "bound to another secret")
	contains(t, ada.post("/bonds/1/redeem", http.StatusUnauthorized), "bond_signer")
	before := x.balance("bob").JT
	contains(t, bob.post("/bonds/1/redeem", http.StatusOK), "was redeemed")
	if x.balance("bob").JT < before+torq.OrePerRT {
		t.Error("the bond was not paid")
	}
	contains(t, bob.post("/bonds/1/redeem", http.StatusConflict), "bond_redeemed")
	contains(t, bob.post("/bonds/check", http.StatusOK, "serial", "1"), "Do not take it")
	if bytes.Contains(ada.seen.Bytes(), []byte(kept.Secret.Text())) || bytes.Contains(bytes.ToLower(ada.seen.Bytes()), []byte(strings.ToLower(kept.Secret.Words()[:24]))) {
		t.Error("the bond's secret stands on a page that is not its print")
	}
}

// keptSecret looks for the wallet's seed and keys in all that a browser got.
func (x *town) keptSecret(b *browser) {
	x.t.Helper()
	w, err := wallet.Open(x.wallet("ada"))
	must(x.t, err)
	words, err := w.Words()
	must(x.t, err)
	seed, err := wallet.ParseWords(words)
	must(x.t, err)
	secrets := map[string][]byte{"the words": []byte(words)}
	for name, raw := range map[string][]byte{"the seed": seed[:], "the Ed25519 key": derived(x.t, seed, seal.Ed25519), "the Falcon key": derived(x.t, seed, seal.Falcon512Padded)} {
		secrets[name] = raw
		secrets[name+" in hex"] = []byte(hex.EncodeToString(raw))
		secrets[name+" in base64"] = []byte(base64.RawStdEncoding.EncodeToString(raw))
		secrets[name+" in base64 of addresses"] = []byte(base64.RawURLEncoding.EncodeToString(raw))
	}
	for name, secret := range secrets {
		if bytes.Contains(b.seen.Bytes(), secret) {
			x.t.Errorf("the browser got %s", name)
		}
	}
	if b.seen.Len() < 50_000 {
		x.t.Errorf("only %d bytes were looked at", b.seen.Len())
	}
}

// derived is the seed of an account's key, as the wallet derives it.
func derived(t *testing.T, seed wallet.Seed, alg string) []byte {
	t.Helper()
	key, err := hkdf.Key(sha256.New, seed[:], nil, "robotorq.org/wallet/v1 "+alg+" 0", 32)
	must(t, err)
	return key
}
