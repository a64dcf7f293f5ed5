package coordinator_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/coordinator"
)

// hooks remembers what was delivered, and refuses some.
type hooks struct {
	mu     sync.Mutex
	got    []string
	refuse int
}

func (h *hooks) Deliver(_ context.Context, id, url string, body []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refuse > 0 {
		h.refuse--
		return errors.New("the client is away")
	}
	var event struct{ Event, ID string }
	if err := json.Unmarshal(body, &event); err != nil || event.ID != id || url != "https://client.example/hook" {
		return errors.New("malformed")
	}
	h.got = append(h.got, event.Event)
	return nil
}

func TestAClientIsToldOfEachStepOnceAndAgainUntilItHears(t *testing.T) {
	r := newRig(t, place(t))
	h := &hooks{}
	r.must(r.desk.Close())
	o := r.options()
	o.Hooks = h
	desk, err := coordinator.Open(t.Context(), o)
	r.must(err)
	r.desk = desk
	r.robot("rover", payees[0])
	task := r.proved("rover", func(t *market.Task) { t.WebhookURL = "https://client.example/hook" })
	h.refuse = 2
	for range 12 {
		r.must(r.desk.Call(t.Context()))
		r.advance(30_000)
	}
	_, err = r.desk.Settle(t.Context(), task.TaskID, "alice", coordinator.Once{})
	r.must(err)
	r.must(r.desk.Call(t.Context()))
	r.must(r.desk.Call(t.Context()))
	seen := map[string]int{}
	for _, e := range h.got {
		seen[e]++
	}
	for _, e := range []string{"task.pending_funding", "task.funded", "task.claimed", "task.proof_submitted", "task.settled"} {
		if seen[e] != 1 {
			t.Errorf("%s was told %d times: %v", e, seen[e], h.got)
		}
	}
	h.refuse, h.got = 1_000, nil
	_, _ = r.create(func(t *market.Task) { t.WebhookURL = "https://client.example/hook" })
	for range 40 {
		r.must(r.desk.Call(t.Context()))
		r.advance(24 * hour)
	}
	if left := 1_000 - h.refuse; left != 12 {
		t.Errorf("a client that never hears was called %d times", left)
	}
}

func TestAWebhookNeverGoesToThisMachine(t *testing.T) {
	called := false
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called = true }))
	defer server.Close()
	h := coordinator.NewHooks("secret")
	for _, url := range []string{server.URL, strings.Replace(server.URL, "127.0.0.1", "localhost", 1), strings.Replace(server.URL, "https", "http", 1)} {
		if err := h.Deliver(t.Context(), "id", url, []byte("{}")); err == nil || called {
			t.Errorf("%s was called: %v", url, err)
		}
	}
	if coordinator.NewHooks("") != nil {
		t.Error("webhooks without a secret")
	}
}

func TestAWebhookIsSignedWithTheSecretThatBothKnow(t *testing.T) {
	mac := hmac.New(sha256.New, []byte("secret"))
	mac.Write([]byte("id.{}"))
	want := "v1," + hex.EncodeToString(mac.Sum(nil))
	if got := coordinator.HookSignature([]byte("secret"), "id", []byte("{}")); got != want {
		t.Fatalf("%s, want %s", got, want)
	}
}

// internet is a world of one server, reached as example.com at an address of the public
// internet; what else is asked for and dialled is noted.
type internet struct {
	server  *httptest.Server
	names   map[string][]netip.Addr
	lookups []string
	dialled []string
}

func newInternet(t *testing.T, answer http.HandlerFunc) (*internet, coordinator.Hooks) {
	t.Helper()
	n := &internet{server: httptest.NewTLSServer(answer), names: map[string][]netip.Addr{}}
	t.Cleanup(n.server.Close)
	roots := n.server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	lookup := func(host string) ([]netip.Addr, error) {
		n.lookups = append(n.lookups, host)
		return n.names[host], nil
	}
	dial := func(addr string) (net.Conn, error) {
		n.dialled = append(n.dialled, addr)
		return net.Dial("tcp", n.server.Listener.Addr().String())
	}
	return n, coordinator.HooksOn("secret", roots, lookup, dial)
}

func TestAWebhookDoesNotFollowARedirect(t *testing.T) {
	var asked []string
	n, hooks := newInternet(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, "https://example.com/inside", http.StatusTemporaryRedirect)
		}
	})
	n.names["example.com"] = []netip.Addr{netip.MustParseAddr("8.8.8.8")}
	if err := hooks.Deliver(t.Context(), "id", "https://example.com/hook", []byte("{}")); err != nil {
		t.Fatalf("an honest webhook: %v", err)
	}
	if err := hooks.Deliver(t.Context(), "id", "https://example.com/moved", []byte("{}")); err == nil {
		t.Error("a redirect counts as heard")
	}
	if want := []string{"/hook", "/moved"}; !slices.Equal(asked, want) {
		t.Errorf("the client was asked for %v, want %v", asked, want)
	}
}

func TestAWebhookGoesToTheAddressThatWasLookedAt(t *testing.T) {
	public, private := netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("10.0.0.1")
	n, hooks := newInternet(t, func(http.ResponseWriter, *http.Request) {})
	for name, c := range map[string]struct {
		found   []netip.Addr
		dialled []string
	}{
		"public":               {[]netip.Addr{public}, []string{"8.8.8.8:443"}},
		"private":              {[]netip.Addr{private}, nil},
		"public, then private": {[]netip.Addr{public, private}, nil},
		"public in IPv6":       {[]netip.Addr{netip.MustParseAddr("::ffff:8.8.8.8")}, []string{"8.8.8.8:443"}},
		"private in IPv6":      {[]netip.Addr{netip.MustParseAddr("::ffff:10.0.0.1")}, nil},
		"no address":           {nil, nil},
	} {
		n.names["example.com"], n.lookups, n.dialled = c.found, nil, nil
		err := hooks.Deliver(t.Context(), "id", "https://example.com/hook", []byte("{}"))
		if (err == nil) != (c.dialled != nil) || !slices.Equal(n.dialled, c.dialled) {
			t.Errorf("%s: dialled %v, %v", name, n.dialled, err)
		}
		if len(n.lookups) != 1 {
			t.Errorf("%s: the name was looked up %d times", name, len(n.lookups))
		}
	}
}
