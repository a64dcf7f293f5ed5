package explorer_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/web"
)

// What a page may cost.
const (
	pageTime  = 50 * time.Millisecond
	pageBytes = 100 << 10

	leastTries = 5
	mostTries  = 40 // of a page that was over its time: others need the processor, too
	extraTime  = 4 * time.Second
)

// measured is a page and what it cost.
type measured struct {
	what  string
	bytes int
	took  time.Duration // the least of all tries
	tries int
}

// budget asks a node for pages over a loopback connection.
type budget struct {
	*city
	server *httptest.Server
	token  string
	rows   []measured
	bodies []string // of pages
}

func newBudget(t *testing.T) *budget {
	t.Helper()
	b := &budget{city: newCity(t)}
	server, err := api.New(api.Options{Reader: b.Explorer, Feed: b.feed, Clock: b.clock, Wallets: b.Explorer, Tokens: b.Explorer})
	must(t, err)
	pages, err := web.New(web.Options{
		Reader: b.Explorer, Overview: server.Overview, OpenAPI: server.OpenAPI(), Bonds: b.Explorer, Solvent: b.Explorer, Clock: b.clock,
		Holders: func(ctx context.Context, digest [sha256.Size]byte) (web.Holder, error) {
			who, err := b.Holder(ctx, digest)
			return web.HolderOf(who), err
		},
	})
	must(t, err)
	b.server = httptest.NewServer(server.Handler(pages))
	t.Cleanup(b.server.Close)
	b.token, err = b.IssueToken(t.Context(), "the desk", api.RolePortal, uint64(b.clock.Now().UnixMilli())+policy.Day)
	must(t, err)
	return b
}

// ask fetches a path once.
func (b *budget) ask(t *testing.T, path string) (body string, took time.Duration) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.server.URL+path, nil)
	must(t, err)
	r.Header.Set("Accept-Encoding", "identity")
	if strings.HasPrefix(path, "/api/v1/wallets/") {
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	began := time.Now()
	answer, err := b.server.Client().Do(r)
	must(t, err)
	text, err := io.ReadAll(answer.Body)
	took = time.Since(began)
	must(t, err)
	must(t, answer.Body.Close())
	if answer.StatusCode != http.StatusOK {
		t.Errorf("%s: %s\n%.300s", path, answer.Status, text)
	}
	return string(text), took
}

// measure asks several times; each time for another of the same kind, where path has
// several, so that nothing is found as the try before has left it.
func (b *budget) measure(t *testing.T, what string, path func(try int) string) (body string) {
	t.Helper()
	m := measured{what: what, took: time.Hour}
	for began := time.Now(); m.tries < leastTries || m.took > pageTime && m.tries < mostTries && time.Since(began) < extraTime; m.tries++ {
		b.clock.pass(2 * uint64(api.OverviewInterval/time.Millisecond)) // the overview is asked for again
		text, took := b.ask(t, path(m.tries))
		m.took, m.bytes, body = min(m.took, took), max(m.bytes, len(text)), text
	}
	b.rows = append(b.rows, m)
	return body
}

// ids of what is asked for: another one in each try.
func (b *budget) fill(pattern string, try int) string {
	serial := 1 + try*1237%len(b.reserve.Certs)
	robot := b.robots[try*7%len(b.robots)]
	return strings.NewReplacer(
		"{serial}", fmt.Sprint(serial), "{unit}", fmt.Sprint(try*97%1024), "{index}", fmt.Sprint(try*97%1024),
		"{refinery}", "refinery-1", "{seq}", fmt.Sprint(serial*4), "{number}", fmt.Sprint(1+try%cityRobots), "{id}", robot.ID,
		"{digest}", b.reports[try*31%len(b.reports)].Digest().String(), "{entry}", fmt.Sprint(try*8191%len(b.reserve.Log)),
		"{account}", []string{"member:ada", cityMember(try), cityMember(cityMembers - 1 - try)}[try%3], "{order}", b.order, "{version}", "1",
		"{person}", "member:"+b.people[try%len(b.people)], "{key}", merkle.LeafHash([]byte("a bearer's key")).String(),
	).Replace(pattern)
}

// cityPages are all pages that everybody sees, with those in the middle of lists.
var cityPages = []string{
	"/", "/certificates", "/certificates?after=5000", "/certificates/{serial}", "/certificates/{serial}/ore/{unit}", "/ingots/{refinery}/{seq}",
	"/contracts", "/contracts?after=200", "/contracts/{number}", "/robots", "/robots?after=robot-020", "/robots/{id}", "/reports/{digest}",
	"/proof-log", "/proof-log?kind=enrolment", "/proof-log?kind=certificate", "/proof-log?after=5000", "/proof-log/{entry}",
	"/reserve", "/reserve?every=minute", "/reserve?every=hour", "/reserve?every=day", "/reserve?after=5000", "/bonds/1", "/refusals", "/charter", "/policy", "/policy?version=1",
	"/interface", "/sign-in", "/market", "/simulator",
}

// cityReads fills in what the paths of the interface ask for where it is not the same as
// of the pages.
var cityReads = map[string]string{
	"/api/v1/bonds": "/api/v1/bonds?key_hash={key}", "/api/v1/bonds/{serial}": "/api/v1/bonds/1", "/api/v1/people/{account}": "/api/v1/people/{person}",
	"/api/v1/log/entries/{index}": "/api/v1/log/entries/{entry}", "/api/v1/wallets/{account}/orders/{order}": "/api/v1/wallets/member:ada/orders/{order}",
}

// notTimed are paths that are no page: streams, and documents that are files.
var notTimed = []string{"/api/v1/events", "/api/v1/bonds/{serial}/file"}

func TestEveryPageIsQuickAndSmallInACity(t *testing.T) {
	if testing.Short() {
		t.Skip("a city with 100,000 members takes a minute to make")
	}
	began := time.Now()
	b := newBudget(t)
	t.Logf("the city was made in %v", time.Since(began).Round(time.Second))
	b.sized(t)
	for _, pattern := range cityPages {
		b.bodies = append(b.bodies, b.measure(t, pattern, func(try int) string { return b.fill(pattern, try) }))
	}
	for _, pattern := range b.reads(t) {
		b.measure(t, pattern, func(try int) string { return b.fill(pattern, try) })
	}
	b.report(t)
	b.links(t)
}

// sized makes certain that the city is one.
func (b *budget) sized(t *testing.T) {
	t.Helper()
	o, err := b.Overview(t.Context())
	must(t, err)
	s, err := b.Solvency(t.Context())
	must(t, err)
	l, err := b.Log(t.Context())
	must(t, err)
	if o.Mint.Certificates != 10_000 || o.Wallets.Members < cityMembers || s.Wallets < cityMembers || l.Size < cityMembers+10_000 || o.Wallets.Orders < cityOrders {
		t.Fatalf("%+v\n%d wallets are stated, %d entries logged", o, s.Wallets, l.Size)
	}
}

// reads are all paths that the interface reads, as its own description has them.
func (b *budget) reads(t *testing.T) (patterns []string) {
	t.Helper()
	server, err := api.New(api.Options{Reader: b.Explorer, Feed: b.feed, Clock: b.clock, Wallets: b.Explorer, Tokens: b.Explorer})
	must(t, err)
	for path, item := range server.OpenAPI().Paths {
		if item.Get == nil || slices.Contains(notTimed, path) {
			continue
		}
		if own, ok := cityReads[path]; ok {
			path = own
		}
		patterns = append(patterns, path)
	}
	slices.Sort(patterns)
	return patterns
}

// report holds what was measured against the budget.
func (b *budget) report(t *testing.T) {
	t.Helper()
	var table strings.Builder
	fmt.Fprintf(&table, "%-60s %8s %8s %5s\n", "page", "bytes", "ms", "tries")
	for _, m := range b.rows {
		fmt.Fprintf(&table, "%-60s %8d %8.1f %5d\n", m.what, m.bytes, float64(m.took.Microseconds())/1000, m.tries)
		if m.took > pageTime {
			t.Errorf("%s takes %v, at best of %d tries; %v is allowed", m.what, m.took, m.tries, pageTime)
		}
		if m.bytes > pageBytes && !strings.HasPrefix(m.what, "/api/") {
			t.Errorf("%s has %d bytes; %d are allowed", m.what, m.bytes, pageBytes)
		}
	}
	t.Log("\n" + table.String())
}

var (
	linked  = regexp.MustCompile(`href="(/[^"#?]*)`)
	numbers = regexp.MustCompile(`/(\d+|[0-9a-f]{64}|robot-\d+)(/|$)`)
)

// links makes certain that no page to which the pages lead was left out.
func (b *budget) links(t *testing.T) {
	t.Helper()
	known := map[string]bool{"/ore": true, "/find": true} // they answer with another address
	place := func(path string) string {
		for numbers.MatchString(path) {
			path = numbers.ReplaceAllString(path, "/*$2")
		}
		return path
	}
	for _, pattern := range cityPages {
		path, _, _ := strings.Cut(b.fill(pattern, 0), "?")
		known[place(path)] = true
	}
	for _, body := range b.bodies {
		for _, link := range linked.FindAllStringSubmatch(body, -1) {
			path := link[1]
			if strings.HasPrefix(path, "/api/") || strings.HasPrefix(path, "/assets/") {
				continue
			}
			if !known[place(path)] {
				t.Errorf("a page links to %s, which is not measured", path)
				known[place(path)] = true
			}
		}
	}
}
