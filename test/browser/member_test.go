//go:build browser

package browser_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"robotorq.org/reserve/test/chromium"
	"robotorq.org/reserve/test/running"
)

// memberPages are the pages of a member's own wallet, below the session's path.
var memberPages = []struct{ name, route, path string }{
	{"wallet", "/{$}", "/"},
	{"wallet-pay", "/pay", "/pay"},
	{"wallet-savings", "/savings", "/savings"},
	{"wallet-bonds", "/bonds", "/bonds"},
	{"wallet-bond-take", "/bonds/take", "/bonds/take"},
	{"wallet-bond-check", "/bonds/check", "/bonds/check"},
	{"wallet-statement", "/statement", "/statement"},
	{"wallet-check", "/check", "/check"},
	{"wallet-book", "/book", "/book"},
}

// memberUnseen are routes of the wallet that are files or streams, or pages of what is
// made in the stories.
var memberUnseen = []string{
	"/open/{code}", "/favicon.ico", "/orders/{id}", "/bonds/{serial}", "/bonds/{serial}/print", "/orders/{id}/receipt", "/bonds/{serial}/file", "/bonds/{serial}/print/{as}",
	"/statement/csv", "/statement/json", "/check/solvency.json", "/events",
}

// opensPage starts the page of a resident's wallet, opens its link in a browser of its
// own, and says below which address its pages are.
func (r resident) opensPage(t *testing.T) (tab *Tab, base string) {
	t.Helper()
	p := running.MustServe(t, "wallet", "page", "--wallet", r.wallet, "--url", r.url, "--json")
	link := strings.Trim(p.URL, `",}`)
	tab = MustOpen(t)
	tab.Set(chromium.Looks[0])
	return tab, strings.TrimSuffix(tab.Go(link), "/")
}

var amountAtHand = regexp.MustCompile(`[0-9]+\.[0-9]+`)

// A member pays another on the page of the wallet: what is signed is shown first, the
// other one sees it come without asking, and both find it in their statements.
func TestAMemberPaysAnotherAndBothSeeIt(t *testing.T) {
	t.Parallel()
	gina, hugo := MustJoin(t, "gina"), MustJoin(t, "hugo")
	gina.MustGather(t, 1_000_000)
	from, hers := gina.opensPage(t)
	to, his := hugo.opensPage(t)
	to.Eval("window.loadedOnce = true", nil)
	before := hugo.balance(t).JT

	from.Go(hers + "/pay")
	from.Fill("#to", hugo.account)
	from.Fill("#amount", "0.125 RT")
	from.Fill("#memo", "for the bread")
	from.Submit("#amount")
	from.Await("what would be signed", `document.body.innerText.includes("Sign and send") && document.body.innerText.includes("for the bread")`, 20*time.Second)
	from.Click(".wallet-confirm button")
	from.Await("that it is done", `document.querySelector(".verdict.good")?.innerText.includes("Done.")`, 30*time.Second)

	if got := hugo.balance(t).JT - before; got < 450_000 {
		t.Errorf("%d JT have come", got)
	}
	to.Await("that something has come, on the page as it was opened", `window.loadedOnce && /[1-9]/.test(document.querySelector("main").innerText.match(/[0-9]+\.[0-9]+/)?.[0] || "")`, 30*time.Second)
	for name, side := range map[string]struct {
		tab  *Tab
		base string
	}{"who pays": {from, hers}, "who is paid": {to, his}} {
		side.tab.Go(side.base + "/statement")
		text := side.tab.Text("main")
		if !strings.Contains(text, "for the bread") || !amountAtHand.MatchString(text) {
			t.Errorf("the statement of %s says: %.500s", name, text)
		}
	}
}

func TestEveryPageOfTheWalletIsReadableForEverybody(t *testing.T) {
	t.Parallel()
	axe := mustAxe(t)
	ida := MustJoin(t, "ida")
	tab, base := ida.opensPage(t)
	for _, one := range memberPages {
		t.Run(one.name, func(t *testing.T) {
			tab.T = t
			path := base + one.path
			tab.Visit(path)
			tab.CheckForEverybody(axe, one.name)
			tab.checkWithoutScripts(one.name, path)
			for _, fault := range tab.Faults() {
				t.Errorf("the browser complains: %s", fault)
			}
		})
	}
	tab.T = t
}
