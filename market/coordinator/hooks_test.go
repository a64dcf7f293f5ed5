package coordinator_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
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

func TestAWebhookNeverGoesToThisMachineNorFollowsARedirect(t *testing.T) {
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
