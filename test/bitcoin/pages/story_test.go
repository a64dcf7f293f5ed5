//go:build browser

package pages_test

import (
	"encoding/json"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

// A client posts a task in the form; the page of its invoice turns to paid by itself when
// another node has paid. A robot claims and proves it by the commands, while the pages of
// client and visitor follow. The client accepts with a double click and pays once, and
// the robot's own node gets what the pages say.
func TestATaskIsPostedPaidProvenAcceptedAndPaidOutInThePages(t *testing.T) {
	h := mustOpen(t, "rover-8", "up", "--port", "0", "--origin", "test.example/pages")
	h.visitor.Allow("403 (Forbidden)") // what is not for visitors
	h.visitor.Visit(h.url + "/market")
	h.visitor.stays()

	task, invoice := h.post("Photograph the pier", "settled")
	path := "/market/tasks/" + task
	h.client.CheckForEverybody(h.axe, "market-fund")
	h.client.Visit(h.url + path + "/fund") // it renews itself again
	outcome := h.pays(invoice)
	h.client.sends("#m-fund a.button", path)

	// A visitor finds it among the open ones, as soon as it is there.
	h.visitor.saysByItself("#m-board", "Photograph the pier", 30*time.Second)
	h.visitor.sends(`#m-board a[href="`+path+`"]`, path)
	h.client.stays()
	h.visitor.stays()
	h.works(task, outcome)
	h.seesOnlyWhatIsPublic(task, invoice)

	var again string
	h.client.Eval(`(f => f.action + "?" + new URLSearchParams(new FormData(f)))(document.querySelector("form[action$='/settle']"))`, &again)
	h.client.DoubleClick("form[action$='/settle'] button")
	h.client.arrives(path + "?done=settled")
	h.client.says(".verdict.good[role=status]", "Accepted")
	t.Logf("the double click sent the form %d times", h.client.Asked("POST", h.url+path+"/settle"))
	// The same form once more, as after going back: it is answered as before.
	action, form, _ := strings.Cut(again, "?")
	var at string
	h.client.Eval(`fetch("`+action+`", {method: "POST", body: new URLSearchParams("`+form+`")}).then(r => r.url)`, &at)
	if !strings.HasSuffix(at, task+"?done=settled") {
		t.Errorf("the form sent again leads to %s", at)
	}
	if times, sats := h.robot.Earned(t); times != 1 || sats != 45_000 {
		t.Errorf("the robot has earned %d times, %d sats together", times, sats)
	}
	h.client.Visit(h.url + path)
	h.client.CheckForEverybody(h.axe, "market-settled")
	h.visitor.saysByItself("#m-head", "settled", 30*time.Second)
	h.seesOnlyWhatIsPublic(task, invoice)

	var got, want any
	file, err := os.ReadFile(h.client.MustDownload(`a[href$="/proof"]`))
	h.must(err)
	h.must(json.Unmarshal(file, &got))
	h.must(json.Unmarshal([]byte(photoProof), &want))
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the downloaded proof is %v", got)
	}

	h.operator.stays()
	h.paysOut("45,000", 45_000)
	h.operator.stays()
	h.operator.saysByItself("#m-payouts", "paid for good", 45*time.Second) // the coordinator looks every half minute
	h.operator.Visit(h.url + path)
	h.operator.says("#m-sats", "paid on chain")
	owner := h.open(meshToken)
	owner.Visit(h.url + "/market/robots?agent=" + h.robot.ID)
	owner.says("#m-earnings", "45,000 were paid on chain")
	h.squares(50_000, 0, 45_000, 0)
}

// seesOnlyWhatIsPublic looks at the visitor's page of a task: no client, no invoice,
// nothing of the proof but its digest, and no form to send.
func (h *hall) seesOnlyWhatIsPublic(task, invoice string) {
	h.Helper()
	var text string
	h.visitor.Eval(`document.querySelector("main").outerHTML`, &text)
	if !strings.Contains(text, "Photograph the pier") || !strings.Contains(text, h.robot.ID) {
		h.Errorf("a visitor does not see the task: %.600s", text)
	}
	secrets := []string{"bruna", invoice, "0badcafe", "what only the client may read"}
	for _, private := range append(secrets, "<form", "<button") {
		if strings.Contains(text, private) {
			h.Errorf("a visitor sees %q", private)
		}
	}
	for _, path := range []string{"/fund", "/proof"} {
		var leads struct {
			At     string
			Status int
			Text   string
		}
		h.visitor.Eval(`fetch("/market/tasks/`+task+path+`").then(async r => ({At: new URL(r.url).pathname, Status: r.status, Text: await r.text()}))`, &leads)
		if leads.At != "/sign-in" && leads.Status < http.StatusBadRequest {
			h.Errorf("%s leads a visitor to %s: %d", path, leads.At, leads.Status)
		}
		for _, private := range secrets {
			if strings.Contains(leads.Text, private) {
				h.Errorf("%s shows a visitor %q", path, private)
			}
		}
	}
}

// With a hold invoice the sats stay with the client's node until the claim. The client
// disputes the proof, the operator splits the reward, the client's part leaves over
// Lightning and the robot's on chain: all in the pages of a coordinator that has no
// reserve beside it.
func TestADisputeIsDecidedAndBothArePaidInThePages(t *testing.T) {
	h := mustOpen(t, "rover-9", "market", "serve", "--listen", "127.0.0.1:0")
	task, invoice := h.post("Photograph the gate", "hold")
	path := "/market/tasks/" + task
	outcome := h.pays(invoice)
	h.client.sends("#m-fund a.button", path)
	h.client.says("#m-sats", "held by the payer’s node")
	select {
	case got := <-outcome:
		t.Fatalf("the payment has ended before the claim: %s", got)
	default:
	}
	h.visitor.Visit(h.url + path)
	h.client.stays()
	h.visitor.stays()
	h.works(task, outcome)

	h.client.Fill("#reason", "This is another gate.")
	h.client.sends("form[action$='/dispute'] button", path+"?done=disputed")
	h.client.stays()
	o := h.operator
	o.Visit(h.url + "/market/treasury")
	o.sends(`#m-treasury a[href="`+path+`"]`, path)
	o.says("blockquote", "This is another gate.")
	o.CheckForEverybody(h.axe, "market-disputed")
	o.Visit(h.url + path)
	o.Click(`input[name=outcome][value=split]`)
	o.Fill("#note", "It is the other gate of the same yard.")
	o.Fill("#robotSats", "20,000")
	o.sends("form[action$='/resolve'] button", path+"?done=resolved")
	h.client.saysByItself("#m-life", "Split: 20,000 sats for the robot, 25,000 sats back to the client.", 30*time.Second)
	h.visitor.saysByItself("#m-head", "settled", 30*time.Second)

	// The client takes it home over Lightning.
	h.client.Visit(h.url + "/market/accounts?account=bruna")
	h.client.says("#m-balance", "25,000 sats")
	wanted, err := h.stack.Bob.Invoice(h.ctx, 24_000)
	h.must(err)
	h.client.Fill("#bolt11", wanted)
	h.client.Click("form:has(#bolt11) button")
	h.client.says(".verdict.good[role=status]", "24,000 sats were paid.")
	h.client.says("#m-balance", "1,000 sats")

	h.paysOut("20,000", 20_000)
	o.sends("form.acts > button", "/market/payouts?done=none")
	o.says("#m-payouts", "paid for good")
	h.squares(50_000, 24_000, 20_000, 1_000)
}
