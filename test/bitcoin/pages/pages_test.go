//go:build browser

// Package pages_test leads Chromium through the pages of the marketplace as its clients
// and its operator use them, on real daemons: invoices are paid from another Lightning
// node, and a robot's own node gets the payout. What the pages say is held against what
// the daemons say. Build tag browser, because it needs Chromium.
package pages_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/test/bitcoin"
	"robotorq.org/reserve/test/chromium"
	"robotorq.org/reserve/test/running"
)

var engine chromium.Browser

// network is what both stories use, one after the other.
var network struct {
	once  sync.Once
	stack *bitcoin.Stack
	err   error
}

func TestMain(m *testing.M) {
	code := running.Main(m)
	engine.Close()
	if network.stack != nil {
		if err := network.stack.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

const meshToken, portalToken, adminToken = "mesh-of-the-test", "portal-of-the-test", "admin-of-the-test"

// photoSchema is what a proof of these tests has to look like.
const photoSchema = `{"type": "object", "required": ["photo"], "properties": {"photo": {"type": "string", "description": "SHA-256 of the picture", "pattern": "^sha256:[0-9a-f]+$"}}}`

const photoProof = `{"photo": "sha256:0badcafe", "secret": "what only the client may read"}`

// hall is a marketplace and the people in front of its pages.
type hall struct {
	*testing.T
	ctx   context.Context
	stack *bitcoin.Stack
	url   string
	axe   string

	client, operator, visitor tab
	robot                     running.Rover
	own                       *bitcoin.Lnd // the robot's own node
	before                    pots
}

// mustOpen starts a command that serves the marketplace on the daemons, with a robot that
// has a node of its own.
func mustOpen(t *testing.T, robot string, command ...string) *hall {
	t.Helper()
	programs := bitcoin.Wanted(t)
	axe := chromium.MustAxe(t, "../../peers/node_modules")
	network.once.Do(func() { network.stack, network.err = bitcoin.Run(context.Background(), programs) })
	if network.err != nil {
		t.Fatal(network.err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	t.Cleanup(cancel)
	h := &hall{T: t, ctx: ctx, stack: network.stack, axe: axe}
	for _, line := range append(h.stack.Environment(), "ROBOT_QUEUE_ENABLED=true", "ROBOT_COORDINATOR_FEE_BPS=1000", "ROBOT_MIN_SWEEP_SATS=1000",
		"ROBOT_MESH_TOKEN="+meshToken, "ROBOT_PORTAL_TOKEN="+portalToken, "ROBOT_ADMIN_TOKEN="+adminToken) {
		name, value, _ := strings.Cut(line, "=")
		t.Setenv(name, value)
	}
	h.url = running.MustServe(t, append(command, "--data", t.TempDir())...).URL
	var err error
	h.own, err = h.stack.Another(ctx, robot)
	h.must(err)
	address, err := h.own.Address(ctx)
	h.must(err)
	h.robot = running.MustRegister(t, t.TempDir(), h.url, meshToken, robot, address)
	h.before = h.pots()
	h.client, h.operator, h.visitor = h.open(portalToken), h.open(adminToken), h.open("")
	return h
}

func (h *hall) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

// tab is one in which somebody looks at the marketplace.
type tab struct {
	*chromium.Tab
	hall *hall
}

// open opens a tab that is signed in with a token, or that of a visitor.
func (h *hall) open(token string) tab {
	h.Helper()
	one := tab{engine.MustOpen(h.T), h}
	one.Set(chromium.Looks[0])
	if token != "" {
		one.SignIn(h.url, token)
		if path := one.path(); path != "/market" {
			h.Fatalf("signing in leads to %s", path)
		}
	}
	return one
}

func (one tab) path() (path string) {
	one.T.Helper()
	one.Eval("location.pathname + location.search", &path)
	return path
}

// stays marks the open page, so that a page which says something new has said it by itself.
func (one tab) stays() {
	one.T.Helper()
	one.Eval("window.loadedOnce = true", nil)
}

// says waits until a part of the page says something.
func (one tab) says(selector, text string) {
	one.T.Helper()
	one.Await(selector+" to say "+text, part(selector)+`?.innerText.includes(`+chromium.Quoted(text)+`)`, 30*time.Second)
}

// saysByItself is says on the page that was marked, which nobody loads again.
func (one tab) saysByItself(selector, text string, within time.Duration) {
	one.T.Helper()
	one.Await(selector+" to say by itself "+text, `window.loadedOnce && `+part(selector)+`?.innerText.includes(`+chromium.Quoted(text)+`)`, within)
}

func part(selector string) string { return `document.querySelector(` + chromium.Quoted(selector) + `)` }

// sends presses the button of a form and waits where that leads.
func (one tab) sends(button, to string) {
	one.T.Helper()
	one.Click(button)
	one.arrives(to)
}

func (one tab) arrives(to string) {
	one.T.Helper()
	one.Await("the page "+to, `document.readyState === "complete" && location.pathname + location.search === `+chromium.Quoted(to), 30*time.Second)
}

var fundPage = regexp.MustCompile(`^/market/tasks/([0-9a-f-]{36})/fund$`)

// post fills in the form and sends it. The page of the invoice is open when it returns,
// which is one of the coordinator's node.
func (h *hall) post(title, escrow string) (task, invoice string) {
	h.Helper()
	c := h.client
	c.Visit(h.url + "/market/post")
	for field, text := range map[string]string{"#title": title, "#description": "From the north side.", "#amount": "50,000", "#needs": "camera", "#schema": photoSchema, "[name=account]": "bruna"} {
		c.Fill(field, text)
	}
	c.Click(`input[name=escrow][value=` + escrow + `]`)
	c.Click("form.post button")
	c.Await("the page of the invoice", `document.readyState === "complete" && document.querySelector("#m-fund svg.qr")`, 30*time.Second)
	id := fundPage.FindStringSubmatch(c.path())
	if id == nil {
		h.Fatalf("posting leads to %s", c.path())
	}
	c.says("#m-fund [role=status]", "Not paid yet")
	invoice = c.Text("#m-fund pre.bolt11")
	var link string
	c.Eval(`document.querySelector("#m-fund a.button").href`, &link)
	if !strings.HasPrefix(invoice, "lnbcrt500u1") || link != "lightning:"+invoice {
		h.Fatalf("the invoice is %s, its link %s", invoice, link)
	}
	return id[1], invoice
}

// pays has the client's node pay, and waits until the open page of the invoice says so. The
// outcome of a hold invoice comes when it is taken in.
func (h *hall) pays(invoice string) (outcome <-chan string) {
	h.Helper()
	h.client.stays()
	done := make(chan string, 1)
	go func() {
		outcome, err := h.stack.Bob.Pay(h.ctx, invoice)
		if err != nil {
			outcome = err.Error()
		}
		done <- outcome
	}()
	h.client.saysByItself("#m-fund [role=status]", "50,000 sats.", 30*time.Second)
	h.client.Await("the invoice to be gone", `window.loadedOnce && /^Paid/.test(document.querySelector("#m-fund [role=status]").innerText) && !document.querySelector("#m-fund svg.qr")`, 10*time.Second)
	return done
}

func (h *hall) outcome(done <-chan string) {
	h.Helper()
	select {
	case got := <-done:
		if got != "SUCCEEDED" {
			h.Fatalf("the payer's outcome is %s", got)
		}
	case <-h.ctx.Done():
		h.Fatal(h.ctx.Err())
	}
}

// works claims and proves, while those who look at the task's page see it come.
func (h *hall) works(task string, outcome <-chan string) {
	h.Helper()
	h.robot.MustClaim(h, task)
	for _, one := range []tab{h.client, h.visitor} {
		one.saysByItself("#m-head", "claimed", 30*time.Second)
		one.saysByItself("#m-life", h.robot.ID, 10*time.Second)
	}
	h.outcome(outcome)
	h.robot.MustProve(h, task, photoProof)
	h.client.saysByItself("#m-proof", "It fits the schema of the task", 30*time.Second)
	h.visitor.saysByItself("#m-head", "proof submitted", 30*time.Second)
}

// paysOut has the operator pay everybody, and waits until the robot's own node has the sats.
func (h *hall) paysOut(robots string, sats int64) {
	h.Helper()
	o := h.operator
	o.Visit(h.url + "/market/payouts")
	o.says("#m-waits", robots+" sats to 1 robot")
	o.sends("form.acts > button", "/market/payouts?done=paid")
	o.says(".verdict.good", "A payout was made")
	o.says("#m-payouts", robots+" sats for robots")
	h.must(h.stack.Bitcoind.Mine(h.ctx, 6))
	h.must(h.own.AwaitCoins(h.ctx, sats))
}

// pots are what the daemons have, and what has come in and gone out since.
type pots struct{ held, coins int64 }

func (h *hall) pots() (p pots) {
	h.Helper()
	h.must(h.stack.Alice.AwaitQuiet(h.ctx))
	var err error
	p.held, err = h.stack.Alice.Held(h.ctx)
	h.must(err)
	var b struct {
		Mine struct {
			Trusted json.Number
		}
	}
	h.must(h.stack.Bitcoind.Call(h.ctx, "payout", &b, "getbalances"))
	p.coins, err = bitcoin.Sats(string(b.Mine.Trusted))
	h.must(err)
	return p
}

// squares compares the figures of the treasury's page with the daemons: what came over
// Lightning, what left over Lightning and on chain, and what is in both pots.
func (h *hall) squares(came, withdrawn, robots, clients int64) {
	h.Helper()
	now := h.pots()
	if got := now.held - h.before.held; got != came-withdrawn {
		h.Errorf("the coordinator's node has %d sats more, not %d less %d", got, came, withdrawn)
	}
	onChain := h.before.coins - now.coins // the payout and its miner
	left := withdrawn + onChain
	o := h.operator
	o.Visit(h.url + "/market/treasury")
	var shown struct{ Equation, Classes, Pots []string }
	o.Eval(`({
		Equation: [...document.querySelectorAll(".equation > span:not(.sign)")].map(e => e.firstChild.textContent),
		Classes: [...document.querySelectorAll("#m-treasury table.ledger")[0].querySelectorAll("tbody tr")].map(e => e.cells[0].innerText.trim() + " " + e.cells[1].innerText),
		Pots: [...document.querySelectorAll("#m-treasury dl.facts")].map(e => e.querySelector("dd").innerText),
	})`, &shown)
	if want := []string{grouped(came), grouped(left), grouped(came - left)}; !reflect.DeepEqual(shown.Equation, want) {
		h.Errorf("the treasury says %q, the daemons %q", shown.Equation, want)
	}
	fees := came - left - clients
	if want := []string{"Escrow 0", "Clients " + grouped(clients), "Robots 0", "In flight 0", "Fees " + grouped(fees), "Together " + grouped(came-left)}; !reflect.DeepEqual(shown.Classes, want) {
		h.Errorf("the ledger says %q, not %q", shown.Classes, want)
	}
	if want := []string{grouped(now.held) + " sats", grouped(now.coins) + " sats"}; len(shown.Pots) < 2 || !reflect.DeepEqual(shown.Pots[:2], want) {
		h.Errorf("the pots are %q, the daemons have %q", shown.Pots, want)
	}
	if onChain <= robots {
		h.Errorf("%d sats have left on chain, of which %d are the robot's: no miner was paid", onChain, robots)
	}
}

// grouped is a number as the pages write it.
func grouped(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
