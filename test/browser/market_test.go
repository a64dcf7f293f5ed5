//go:build browser

package browser_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/test/running"
)

// payoutAddress is a wallet's on the test network of the simulated chain.
const payoutAddress = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"

// photoSchema is what a proof of these tests has to look like.
const photoSchema = `{"type": "object", "required": ["photo"], "properties": {"photo": {"type": "string", "description": "SHA-256 of the picture", "pattern": "^sha256:[0-9a-f]+$"}}}`

const photoProof = `{"photo": "sha256:0badcafe", "secret": "what only the client may read"}`

// rover is a robot of the marketplace, that works by the commands.
type rover struct {
	id, key, url string
}

func mustRegister(t *testing.T, url, id string) rover {
	t.Helper()
	r := rover{id, filepath.Join(demo.dir, id+".json"), url}
	running.MustPass(t, "market", "register", "--agent", id, "--address", payoutAddress, "--can", "camera,gps", "--key", r.key, "--new-key", "--url", url, "--token", "mesh-secret")
	return r
}

func (r rover) MustClaim(t *testing.T, task string) {
	t.Helper()
	running.MustPass(t, "market", "claim", task, "--agent", r.id, "--key", r.key, "--url", r.url, "--token", "mesh-secret")
}

func (r rover) MustProve(t *testing.T, task, proof string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "proof.json")
	if err := os.WriteFile(file, []byte(proof), 0o600); err != nil {
		t.Fatal(err)
	}
	running.MustPass(t, "market", "prove", task, file, "--agent", r.id, "--key", r.key, "--url", r.url, "--token", "mesh-secret")
}

// earned is how often and how much the robot has earned.
func (r rover) earned(t *testing.T) (times int, sats int64) {
	t.Helper()
	var e struct {
		Earnings []struct {
			EarnedSats int64 `json:"earnedSats"`
		}
	}
	out := running.MustPass(t, "market", "earnings", "--agent", r.id, "--key", r.key, "--url", r.url, "--token", "mesh-secret", "--json").Out
	if err := json.Unmarshal([]byte(out), &e); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, one := range e.Earnings {
		sats += one.EarnedSats
	}
	return len(e.Earnings), sats
}

// proven is a task of the demo whose proof waits for its client, once for all tests.
var proven struct {
	once        sync.Once
	task, robot string
}

func aTask(t *testing.T, url string) string {
	t.Helper()
	proven.once.Do(func() {
		dir := t.TempDir()
		schema := filepath.Join(dir, "schema.json")
		if err := os.WriteFile(schema, []byte(photoSchema), 0o600); err != nil {
			t.Fatal(err)
		}
		var made struct{ Task struct{ TaskID string } }
		out := running.MustPass(t, "market", "fund", "Photograph the bridge", "--description", "All three piers, from the north side, in daylight.", "--amount", "100000", "--need", "camera",
			"--account", "alice", "--schema", schema, "--url", url, "--token", "portal-secret", "--json").Out
		if err := json.Unmarshal([]byte(out), &made); err != nil || made.Task.TaskID == "" {
			t.Fatalf("%v: %s", err, out)
		}
		id := made.Task.TaskID
		for until := time.Now().Add(time.Minute); ; time.Sleep(300 * time.Millisecond) {
			if out := running.MustPass(t, "market", "show", id, "--account", "alice", "--url", url, "--token", "portal-secret", "--json").Out; strings.Contains(out, `"funded"`) {
				break
			}
			if time.Now().After(until) {
				t.Fatal("the task is not paid for within a minute")
			}
		}
		robot := mustRegister(t, url, "rover-7")
		robot.MustClaim(t, id)
		robot.MustProve(t, id, photoProof)
		proven.task, proven.robot = id, robot.id
	})
	if proven.task == "" {
		t.Fatal("no task was proven")
	}
	return proven.task
}

func aRobotOfTask(t *testing.T, url string) string {
	aTask(t, url)
	return proven.robot
}

var fundPage = regexp.MustCompile(`/market/tasks/([0-9a-f-]{36})/fund$`)

// post fills in the form and sends it; the page of the invoice is open when it returns.
func (tab *Tab) post(url, title string) (task string) {
	tab.t.Helper()
	var at string
	tab.Visit(url + "/market/post")
	for field, text := range map[string]string{"#title": title, "#description": "From the north side.", "#amount": "50,000", "#needs": "camera", "#schema": photoSchema, "[name=account]": "bruna"} {
		tab.Fill(field, text)
	}
	tab.Submit("#title")
	tab.Await("the page of the invoice", `document.readyState === "complete" && document.querySelector("#m-fund")`, 30*time.Second)
	tab.Eval("location.href", &at)
	id := fundPage.FindStringSubmatch(at)
	if id == nil {
		tab.t.Fatalf("posting leads to %s", at)
	}
	return id[1]
}

// still keeps an open page from renewing itself.
const still = `document.querySelectorAll("[data-part]").forEach(e => e.removeAttribute("data-part"))`

const unpaid = `document.querySelector("#m-fund").innerText.includes("Not paid yet") && document.querySelector("#m-fund svg.qr")`

// postUnpaid posts until the page of the invoice is seen before it was paid: the
// simulated payer looks every other second.
func (tab *Tab) postUnpaid(url, title, first string) (task string) {
	tab.t.Helper()
	for range 6 {
		task = tab.post(url, title)
		var waits bool
		tab.Eval(first, nil)
		tab.Eval(`!!(`+unpaid+`)`, &waits)
		if waits {
			return task
		}
	}
	tab.t.Fatal("six times the invoice was paid before its page was there")
	return ""
}

// A client posts a task in the form, and the page of its invoice turns to paid by
// itself; a robot claims and proves it by the commands while the pages of client and
// visitor follow; the client accepts with a double click, and pays once.
func TestATaskIsPostedPaidProvenAndAcceptedInThePages(t *testing.T) {
	t.Parallel()
	axe := mustAxe(t)
	p := MustDemo(t)
	client, visitor := MustOpen(t), MustOpen(t)
	visitor.Allow("403 (Forbidden)") // what is not for visitors
	client.SignIn(p.URL, api.RolePortal)
	robot := mustRegister(t, p.URL, "rover-8")

	// The invoice in every look, on a page that is kept from turning.
	first := client.postUnpaid(p.URL, "Photograph the gate", still)
	visitor.Set(looks[0])
	client.checkForEverybody(axe, "market-fund")
	client.Go(p.URL + "/market/tasks/" + first)
	client.Await("the payment of the first task", `document.querySelector("#m-head").innerText.includes("funded")`, 30*time.Second)

	// The same as it is meant: nobody loads the page again.
	task := client.postUnpaid(p.URL, "Photograph the pier", "window.loadedOnce = true")
	page := p.URL + "/market/tasks/" + task
	client.Await("that the page of the invoice says by itself that it is paid", `window.loadedOnce && /^Paid/.test(document.querySelector("#m-fund [role=status]").innerText) && !document.querySelector("#m-fund svg.qr")`, 30*time.Second)
	client.Click("#m-fund a.button")
	client.Await("the page of the task", `location.pathname.endsWith("`+task+`") && document.querySelector("#m-acts")`, 30*time.Second)

	// A visitor finds it among the open ones.
	visitor.Visit(p.URL + "/market")
	visitor.Click(`a[href="/market/tasks/` + task + `"]`)
	visitor.Await("the page of the task", `document.readyState === "complete" && document.querySelector("#m-life")`, 30*time.Second)
	for _, tab := range []*Tab{client, visitor} {
		tab.Eval("window.loadedOnce = true", nil)
	}
	robot.MustClaim(t, task)
	for _, tab := range []*Tab{client, visitor} {
		tab.Await("the claim, on the page as it is open", `window.loadedOnce && document.querySelector("#m-head").innerText.includes("claimed") && document.querySelector("#m-life").innerText.includes("rover-8")`, 30*time.Second)
	}
	robot.MustProve(t, task, photoProof)
	client.Await("the proof and what to do about it, on the page as it is open", `window.loadedOnce && document.querySelector("#m-proof").innerText.includes("It fits the schema of the task") && document.querySelector("form[action$='/settle'] button")`, 30*time.Second)
	visitor.Await("that there is a proof", `window.loadedOnce && document.querySelector("#m-head").innerText.includes("proof submitted")`, 30*time.Second)
	visitor.mustSeeOnlyWhatIsPublic(p.URL, task)

	var again string
	client.Eval(`(f => f.action + "?" + new URLSearchParams(new FormData(f)))(document.querySelector("form[action$='/settle']"))`, &again)
	client.DoubleClick("form[action$='/settle'] button")
	client.Await("that it is accepted", `location.search === "?done=settled" && document.querySelector(".verdict.good[role=status]")?.innerText.includes("Accepted")`, 30*time.Second)
	t.Logf("the double click sent the form %d times", client.Asked("POST", page+"/settle"))
	// The same form once more, as after going back: it is answered as before.
	action, form, _ := strings.Cut(again, "?")
	var at string
	client.Eval(`fetch("`+action+`", {method: "POST", body: new URLSearchParams("`+form+`")}).then(r => r.url)`, &at)
	if !strings.HasSuffix(at, task+"?done=settled") {
		t.Errorf("the form sent again leads to %s", at)
	}
	if times, sats := robot.earned(t); times != 1 || sats != 49_000 {
		t.Errorf("the robot has earned %d times, %d sats together", times, sats)
	}
	client.Visit(page)
	client.checkForEverybody(axe, "market-settled")
	visitor.Await("that it is accepted", `window.loadedOnce && document.querySelector("#m-head").innerText.includes("settled")`, 30*time.Second)
	visitor.mustSeeOnlyWhatIsPublic(p.URL, task)

	dir := t.TempDir()
	client.Must(browser.SetDownloadBehavior(browser.SetDownloadBehaviorBehaviorAllow).WithDownloadPath(dir).WithBrowserContextID(client.profile))
	client.Click(`a[href$="/proof"]`)
	var got, want any
	mustDecode(t, mustDownload(t, dir), &got)
	if err := json.Unmarshal([]byte(photoProof), &want); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("the downloaded proof is %v %v", got, err)
	}
}

// mustSeeOnlyWhatIsPublic looks at a task as somebody who has not signed in: no client,
// no invoice, nothing of the proof but its digest, and no form to send.
func (tab *Tab) mustSeeOnlyWhatIsPublic(url, task string) {
	tab.t.Helper()
	var text string
	tab.Eval(`document.querySelector("main").outerHTML`, &text)
	if !strings.Contains(text, "Photograph the pier") || !strings.Contains(text, "rover-8") {
		tab.t.Errorf("a visitor does not see the task: %.600s", text)
	}
	for _, private := range []string{"bruna", "lnsimulated", "0badcafe", "what only the client may read", "<form", "<button"} {
		if strings.Contains(text, private) {
			tab.t.Errorf("a visitor sees %q", private)
		}
	}
	for _, path := range []string{"/fund", "/proof"} {
		var leads struct {
			At     string
			Status int
			Text   string
		}
		tab.Eval(`fetch("/market/tasks/`+task+path+`").then(async r => ({At: new URL(r.url).pathname, Status: r.status, Text: await r.text()}))`, &leads)
		if leads.At != "/sign-in" && leads.Status < http.StatusBadRequest || strings.Contains(leads.Text, "0badcafe") || strings.Contains(leads.Text, "lnsimulated") {
			tab.t.Errorf("%s leads a visitor to %s: %d", path, leads.At, leads.Status)
		}
	}
}
