package market_test

import (
	"context"
	"crypto/sha256"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/apitest"
	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/routes"
	"robotorq.org/reserve/web"
)

// booth is the marketplace as people see it: its pages beside a reserve.
type booth struct {
	door
	pages string // their address
}

func openBooth(t *testing.T) booth {
	t.Helper()
	d := openDoor(t)
	tokens, err := routes.New(routes.Options{Desk: d.desk, Tokens: routes.Tokens{Mesh: meshToken, Portal: portalToken, Admin: adminToken}})
	d.must(err)
	reserve := apitest.New(1, d.clock.Now().UnixMilli())
	server, err := api.New(api.Options{Reader: reserve, Feed: api.NewFeed(d.clock), Clock: d.clock, Market: tokens})
	d.must(err)
	pages, err := web.New(web.Options{Reader: reserve, Overview: server.Overview, OpenAPI: server.OpenAPI(), Clock: d.clock, Market: d.desk,
		Holders: func(_ context.Context, digest [sha256.Size]byte) (web.Holder, error) {
			if role, known := tokens.OwnRole(digest); known {
				return web.MarketHolder(role), nil
			}
			return web.Holder{}, api.Errorf(api.CodeTokenInvalid, "This token is not valid.")
		}})
	d.must(err)
	listening := httptest.NewServer(server.Handler(pages))
	t.Cleanup(listening.Close)
	return booth{d, listening.URL}
}

// browser is somebody's.
type browser struct {
	booth
	http *http.Client
}

func (b booth) browser(token string) browser {
	b.Helper()
	jar, err := cookiejar.New(nil)
	b.must(err)
	v := browser{b, &http.Client{Jar: jar}}
	if token != "" {
		v.send("/sign-in", url.Values{"token": {token}})
	}
	return v
}

func (v browser) read(answer *http.Response, err error) (at, body string) {
	v.Helper()
	v.must(err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	v.must(err)
	if answer.StatusCode != http.StatusOK {
		v.Fatalf("%s: %s\n%s", answer.Request.URL.Path, answer.Status, text)
	}
	return answer.Request.URL.Path, string(text)
}

// send sends a form and follows where it leads; page asks for a page.
func (v browser) send(path string, form url.Values) (at, body string) {
	v.Helper()
	return v.read(v.http.PostForm(v.pages+path, form))
}

func (v browser) page(path string) string {
	v.Helper()
	_, body := v.read(v.http.Get(v.pages + path))
	return body
}

var hidden = regexp.MustCompile(`<input type="hidden" name="(form|once|account)" value="([^"]*)">`)

// press fills in a form of a page and sends it to an address, with the page's hidden fields.
func (v browser) press(path, to string, fill url.Values) (at, body string) {
	v.Helper()
	form := url.Values{}
	for _, field := range hidden.FindAllStringSubmatch(v.page(path), -1) {
		form.Set(field[1], field[2])
	}
	for name, of := range fill {
		form[name] = of
	}
	return v.send(to, form)
}

// says waits until a page says something.
func (v browser) says(path, want string) {
	v.Helper()
	v.until(path+" to say "+want, func() bool { return strings.Contains(v.page(path), want) })
}

var (
	shownInvoice = regexp.MustCompile(`<pre class="bolt11">([^<]*)</pre>`)
	fundPath     = regexp.MustCompile(`^/market/tasks/([0-9a-f-]{36})/fund$`)
)

// A task is posted, paid from the invoice that its page shows, accepted and paid out by pages
// alone; only the robot signs its calls.
func TestAWholeLifeThroughThePages(t *testing.T) {
	for _, mode := range []market.EscrowMode{market.ModeSettled, market.ModeHold} {
		t.Run(string(mode), func(t *testing.T) {
			b := openBooth(t)
			portal, admin, visitor := b.browser(portalToken), b.browser(adminToken), b.browser("")
			r, rover := b.enter("bech32m")
			at, body := portal.press("/market/post", "/market/post", url.Values{"account": {"client"}, "title": {"Photograph the bridge"}, "description": {"From the north side."},
				"kind": {"physical"}, "needs": {"camera"}, "amount": {"50,000"}, "timeout": {"1"}, "unit": {"hours"}, "escrow": {string(mode)},
				"schema": {`{"type":"object","required":["photo"],"properties":{"photo":{"type":"string"}}}`}})
			id, invoice := fundPath.FindStringSubmatch(at), shownInvoice.FindStringSubmatch(body)
			if id == nil || invoice == nil || !strings.HasPrefix(invoice[1], "lnbcrt") || !strings.Contains(body, `<svg class="qr"`) {
				t.Fatalf("posting leads to %s\n%s", at, body)
			}
			task := "/market/tasks/" + id[1]
			done := make(chan string, 1)
			go func() {
				outcome, err := b.stack.Bob.Pay(b.ctx, invoice[1])
				if err != nil {
					outcome = err.Error()
				}
				done <- outcome
			}()
			portal.says(task+"/fund", "Paid <time")
			visitor.says("/market", id[1])
			_, err := rover.Claim(b.ctx, id[1])
			b.must(err)
			b.outcome(done, "SUCCEEDED")
			_, err = rover.Prove(b.ctx, id[1], map[string]string{"photo": "sha256:0badcafe"})
			b.must(err)
			portal.says(task, "It fits the schema of the task")
			portal.press(task, task+"/settle", nil)
			r.owed = 45_000
			_, body = admin.press("/market/payouts", "/market/payouts", nil)
			if !strings.Contains(body, "A payout was made") {
				t.Fatal(body)
			}
			b.mine(6)
			admin.says("/market/payouts", "paid for good")
			admin.says("/market/treasury", "The ledger holds")
			b.browser(meshToken).says("/market/robots?agent="+r.id, "45,000 were paid on chain")
			b.square()
		})
	}
}
