//go:build browser

package browser_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/test/running"
)

// pages are all pages of the site, one line for each. In braces is what the demo
// says that it is. Every route of package web has to be here: a test looks.
var pages = []struct {
	name, route, path string
	complaint         string   // what the browser may say of it
	role              api.Role // that has to be signed in
}{
	{name: "overview", route: "/{$}", path: "/"},
	{name: "certificates", route: "/certificates", path: "/certificates"},
	{name: "certificate", route: "/certificates/{serial}", path: "/certificates/1"},
	{name: "ingot", route: "/ingots/{refinery}/{seq}", path: "/ingots/{ingot}"},
	{name: "ore", route: "/certificates/{serial}/ore/{unit}", path: "/certificates/1/ore/77"},
	{name: "contracts", route: "/contracts", path: "/contracts"},
	{name: "contract", route: "/contracts/{number}", path: "/contracts/1"},
	{name: "robots", route: "/robots", path: "/robots"},
	{name: "robot", route: "/robots/{id}", path: "/robots/{robot}"},
	{name: "reserve", route: "/reserve", path: "/reserve"},
	{name: "bond", route: "/bonds/{serial}", path: "/bonds/{bond}"},
	{name: "report", route: "/reports/{digest}", path: "/reports/{report}"},
	{name: "log", route: "/proof-log", path: "/proof-log"},
	{name: "log-entry", route: "/proof-log/{entry}", path: "/proof-log/1"},
	{name: "policy", route: "/policy", path: "/policy"},
	{name: "sign-in", route: "/sign-in", path: "/sign-in"},
	{name: "operator", route: "/operator", path: "/operator", role: api.RoleAdmin},
	{name: "simulator", route: "/simulator", path: "/simulator"},
	{name: "simulator-run", route: "/simulator/runs/{id}", path: "/simulator/runs/{run}"},
	{name: "simulator-compare", route: "/simulator/compare", path: "/simulator/compare?run={run}&run={other-run}"},
	{name: "market", route: "/market", path: "/market"},
	{name: "market-task", route: "/market/tasks/{id}", path: "/market/tasks/{task}", role: api.RolePortal},
	{name: "market-post", route: "/market/post", path: "/market/post", role: api.RolePortal},
	{name: "market-tasks", route: "/market/tasks", path: "/market/tasks?account=alice", role: api.RolePortal},
	{name: "market-account", route: "/market/accounts", path: "/market/accounts?account=alice", role: api.RolePortal},
	{name: "market-robot", route: "/market/robots", path: "/market/robots?agent={robot-of-task}", role: api.RoleMesh},
	{name: "market-treasury", route: "/market/treasury", path: "/market/treasury", role: api.RoleAdmin},
	{name: "market-payouts", route: "/market/payouts", path: "/market/payouts", role: api.RoleAdmin},
	{name: "refusals", route: "/refusals", path: "/refusals"},
	{name: "charter", route: "/charter", path: "/charter"},
	{name: "interface", route: "/interface", path: "/interface"},
	{name: "error", route: "/", path: "/no-such-page", complaint: "404 (Not Found)"},
}

// inStories are pages that only a story brings about, which looks at them as this table's
// test does: an invoice is paid in test/bitcoin/pages.
var inStories = []string{"/market/tasks/{id}/fund"}

// unseen are routes that show no page of their own: they lead elsewhere or hand out
// files. Below /market/ there is a page only where there is no marketplace.
var unseen = []string{"/ore", "/find", "/favicon.ico", "/simulator/runs/{id}/", "/market/", "/market/tasks/{id}/proof"}

// filled puts what the demo has into a path.
func filled(t *testing.T, p *running.Process, path string) string {
	t.Helper()
	for name, find := range map[string]func(*testing.T, string) string{
		"{ingot}": anIngot, "{robot}": aRobot, "{bond}": aBond, "{report}": aReport, "{run}": aRun, "{other-run}": anotherRun, "{task}": aTask, "{robot-of-task}": aRobotOfTask,
	} {
		if strings.Contains(path, name) {
			path = strings.ReplaceAll(path, name, find(t, p.URL))
		}
	}
	return path
}

func anIngot(t *testing.T, base string) string {
	var list struct {
		Items []struct {
			Refinery string
			Seq      uint64
		}
	}
	mustGet(t, base+"/api/v1/certificates/1/ingots", &list)
	return list.Items[0].Refinery + "/" + number(list.Items[0].Seq)
}

func aRobot(t *testing.T, base string) string {
	var list struct{ Items []struct{ ID string } }
	mustGet(t, base+"/api/v1/robots", &list)
	return list.Items[0].ID
}

func aReport(t *testing.T, base string) string {
	var ore struct{ Span struct{ Report string } }
	mustGet(t, base+"/api/v1/certificates/1/ore/77", &ore)
	return ore.Span.Report
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

func mustGet(t *testing.T, address string, into any) {
	t.Helper()
	client := http.Client{Timeout: 30 * time.Second}
	answer, err := client.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 8<<20))
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v", address, answer.Status, err)
	}
	if err := json.Unmarshal(body, into); err != nil {
		t.Fatalf("%s: %v", address, err)
	}
}

func TestEveryRouteOfTheSiteIsLookedAt(t *testing.T) {
	files, err := filepath.Glob("../../web/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no sources: %v", err)
	}
	site, member := map[string]bool{}, map[string]bool{}
	for _, p := range pages {
		site[p.route] = true
	}
	for _, route := range slices.Concat(unseen, inStories) {
		site[route] = true
	}
	for _, p := range memberPages {
		member[p.route] = true
	}
	for _, route := range memberUnseen {
		member[route] = true
	}
	routes := regexp.MustCompile(`"GET (/[^" ]*)"`)
	found := 0
	for _, file := range files {
		name := filepath.Base(file)
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		known := site
		if strings.HasPrefix(name, "member") {
			known = member
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range routes.FindAllStringSubmatch(string(source), -1) {
			found++
			if !known[match[1]] {
				t.Errorf("%s has a route %s that no test here looks at: add it to the table", name, match[1])
			}
		}
	}
	if found < 30 {
		t.Fatalf("found only %d routes", found)
	}
}

func TestEveryPageIsReadableForEverybody(t *testing.T) {
	t.Parallel()
	axe := mustAxe(t)
	p := MustDemo(t)
	for _, one := range pages {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			tab := MustOpen(t)
			if one.complaint != "" {
				tab.Allow(one.complaint)
			}
			tab.As(p.URL, one.role)
			address := p.URL + filled(t, p, one.path)
			tab.Visit(address)
			tab.CheckForEverybody(axe, one.name)
			tab.checkWithoutScripts(one.name, address)
		})
	}
}

// As lets the tab be signed in with a role, if there is one.
func (tab *Tab) As(base string, role api.Role) {
	tab.T.Helper()
	if role != "" {
		tab.Must(network.SetCookies(mustSignIn(tab.T, base, role)))
	}
}

var signedIn = struct {
	sync.Mutex
	as map[api.Role][]*network.CookieParam
}{as: map[api.Role][]*network.CookieParam{}}

// mustSignIn fills in the form of /sign-in once for each role: one token keeps only so
// many sessions.
func mustSignIn(t *testing.T, base string, role api.Role) []*network.CookieParam {
	t.Helper()
	signedIn.Lock()
	defer signedIn.Unlock()
	if cookies, ok := signedIn.as[role]; ok {
		return cookies
	}
	tab := MustOpen(t)
	tab.SignIn(base, mustToken(t, role))
	tab.Must(chromedp.ActionFunc(func(ctx context.Context) error {
		got, err := network.GetCookies().Do(ctx)
		for _, c := range got {
			signedIn.as[role] = append(signedIn.as[role], &network.CookieParam{Name: c.Name, Value: c.Value, URL: base + c.Path, Path: c.Path, HTTPOnly: c.HTTPOnly, SameSite: c.SameSite})
		}
		return err
	}))
	if len(signedIn.as[role]) != 1 {
		t.Fatalf("signing in leaves %d cookies", len(signedIn.as[role]))
	}
	return signedIn.as[role]
}

// withoutFigures are pages that may be without any, as this demo is.
var withoutFigures = []string{"error", "refusals", "sign-in", "market", "market-post", "market-tasks", "market-account", "market-payouts", "wallet-pay", "wallet-bonds", "wallet-bond-take", "wallet-bond-check", "wallet-check", "wallet-book"}

// checkWithoutScripts compares an open page with what it is without JavaScript: it has
// the same headings and no fewer rows, charts and figures.
func (tab *Tab) checkWithoutScripts(name, address string) {
	tab.T.Helper()
	type shape struct {
		Headings            []string
		Rows, Charts, Terms int
		Figures             bool
	}
	look := func() (s shape) {
		tab.Eval(`({
			Headings: [...document.querySelectorAll("h1, h2")].filter(e => e.checkVisibility()).map(e => /[0-9]/.test(e.textContent) ? e.id : e.textContent.trim()),
			Rows: document.querySelectorAll("main tr, main li").length, Charts: document.querySelectorAll("main svg").length, Terms: document.querySelectorAll("main dd").length,
			Figures: /[0-9]/.test(document.querySelector("main").innerText),
		})`, &s)
		return s
	}
	// Figures come and go meanwhile: only what is less each time is less.
	var with, without shape
	for try := range 3 {
		if try > 0 {
			tab.Visit(address)
		}
		with = look()
		tab.Must(emulation.SetScriptExecutionDisabled(true))
		tab.Visit(address)
		without = look()
		tab.Must(emulation.SetScriptExecutionDisabled(false))
		if slices.Equal(with.Headings, without.Headings) && without.Rows >= with.Rows && without.Charts >= with.Charts && without.Terms >= with.Terms && without.Figures == with.Figures {
			break
		}
		if try == 2 {
			tab.T.Errorf("without JavaScript %+v, with it %+v", without, with)
		}
	}
	if !without.Figures && !slices.Contains(withoutFigures, name) {
		tab.T.Error("there is no figure on it")
	}
}
