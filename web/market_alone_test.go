package web_test

import (
	"context"
	"crypto/sha256"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/market/routes"
	"robotorq.org/reserve/web"
)

// reserveAdmin is a token of a reserve whose data directory the coordinator has.
const reserveAdmin = "operator-of-a-reserve"

// newAloneFair is a coordinator that serves its pages without a reserve.
func newAloneFair(t *testing.T) *fair {
	t.Helper()
	f := newFair(t)
	paths, err := routes.New(routes.Options{Desk: f.desk, Tokens: routes.Tokens{Mesh: marketMesh, Portal: marketPortal, Admin: marketAdmin}})
	f.must(err)
	site, err := web.NewMarket(web.MarketOptions{Desk: f.desk, Clock: f.clock, Holders: func(_ context.Context, digest [sha256.Size]byte) (web.Holder, error) {
		if role, known := paths.OwnRole(digest); known {
			return web.MarketHolder(role), nil
		}
		if digest == sha256.Sum256([]byte(reserveAdmin)) {
			return web.HolderOf(api.Principal{Name: "ops", Role: api.RoleAdmin}), nil
		}
		return web.Holder{}, api.Errorf(api.CodeTokenInvalid, "This token is not valid.")
	}})
	f.must(err)
	mux := http.NewServeMux()
	mux.Handle("/robot/", paths)
	mux.HandleFunc("/api/openapi.json", func(http.ResponseWriter, *http.Request) {})
	mux.Handle("/", site)
	f.handler = api.Guard(nil, mux)
	return f
}

var (
	linkPattern = regexp.MustCompile(`(?:href|src)="(/[^"#]*)"`)
	postPattern = regexp.MustCompile(`<form[^>]*method="post"[^>]*action="(/[^"]*)"`)
)

// follow goes through all that pages lead to, from the first one on, and tells what there
// was. Empty forms are sent too: that somebody answers them, with a refusal, is seen.
func (v *visit) follow() (seen map[string]bool) {
	v.f.t.Helper()
	seen = map[string]bool{"/": true}
	for next := []string{"/"}; len(next) > 0; next = next[1:] {
		answer, body := v.send(next[0], nil)
		switch answer.StatusCode {
		case http.StatusFound, http.StatusSeeOther:
			body = `href="` + answer.Header.Get("Location") + `"`
		case http.StatusOK:
			if strings.HasPrefix(answer.Header.Get("Content-Type"), "text/html") {
				v.check(next[0], answer, body)
			}
		default:
			v.f.t.Errorf("%s: %s", next[0], answer.Status)
		}
		for _, link := range linkPattern.FindAllStringSubmatch(body, -1) {
			to := strings.ReplaceAll(link[1], "&amp;", "&")
			if !seen[to] {
				seen[to] = true
				next = append(next, to)
			}
		}
		for _, form := range postPattern.FindAllStringSubmatch(body, -1) {
			seen[form[1]] = true
			if answer, _ := v.send(form[1], url.Values{}); answer.StatusCode != http.StatusForbidden && answer.StatusCode != http.StatusUnprocessableEntity {
				v.f.t.Errorf("the empty form %s: %s", form[1], answer.Status)
			}
		}
	}
	return seen
}

// Whoever looks, with whatever token: no page leads to one that only a reserve has.
func TestAMarketplaceAloneLeadsNowhereElse(t *testing.T) {
	f := newAloneFair(t)
	robot := f.robot("rover-7", payoutAddress)
	id := f.proven(f.as(marketPortal), robot, bridge("100000"))
	task := "/market/tasks/" + id
	for token, reach := range map[string][]string{
		"":           {"/market", "/sign-in", "/api/openapi.json"},
		marketMesh:   {"/market/robots", "/sign-out"},
		marketPortal: {"/market/post", "/market/tasks", "/market/accounts", task, task + "/proof", task + "/settle"},
		marketAdmin:  {"/market/treasury", "/market/payouts"},
		reserveAdmin: {"/market/treasury", "/market/payouts"},
	} {
		seen := f.as(token).follow()
		for _, path := range reach {
			if !seen[path] {
				t.Errorf("with %q nothing leads to %s", token, path)
			}
		}
	}
	body := f.as(reserveAdmin).page("/market")
	for _, foreign := range []string{"/operator", "/certificates", "RoboTorq Reserve", "robotorq verify"} {
		if strings.Contains(body, foreign) {
			t.Errorf("a page without a reserve has %q", foreign)
		}
	}
}

func TestAMarketplaceAloneLetsNobodyInWithoutItsTokens(t *testing.T) {
	f := newAloneFair(t)
	v := f.as("")
	for _, token := range []string{marketMesh + "x", ""} {
		answer, body := v.send("/sign-in", url.Values{"token": {token}})
		if answer.StatusCode < http.StatusBadRequest || len(answer.Cookies()) != 0 || strings.Contains(body, "robotorq tokens") {
			t.Errorf("token %q: %s %s", token, answer.Status, mainOf(body))
		}
	}
	answer, _ := f.as(marketPortal).send("/market/post", bridge("100000")) // without the session's form token
	if answer.StatusCode != http.StatusForbidden {
		t.Errorf("a form of nobody's session: %s", answer.Status)
	}
	if answer, _ := v.send("/market/treasury", nil); answer.StatusCode != http.StatusSeeOther || !strings.HasPrefix(answer.Header.Get("Location"), "/sign-in?next=") {
		t.Errorf("the treasury for a visitor: %s", answer.Status)
	}
	if answer, body := f.as(reserveAdmin).send("/operator", nil); answer.StatusCode != http.StatusNotFound || !strings.Contains(body, "Not in this marketplace") {
		t.Errorf("the operator's page of a reserve: %s", answer.Status)
	}
}
