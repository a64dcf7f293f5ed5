package routes_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/address"
	"robotorq.org/reserve/market/books"
	"robotorq.org/reserve/market/client"
	"robotorq.org/reserve/market/coordinator"
	"robotorq.org/reserve/market/routes"
	"robotorq.org/reserve/market/simulated"
	"robotorq.org/reserve/market/wire"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }

// clock is set by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) After(time.Duration) <-chan time.Time { return nil }

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

const (
	meshToken, portalToken, adminToken = "mesh-secret", "portal-secret", "admin-secret"
	robotAddress                       = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
	otherAddress                       = "bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry"
)

// rig is a marketplace with simulated rails and a hand-set clock.
type rig struct {
	t     testing.TB
	clock *clock
	world *simulated.World
	desk  *coordinator.Desk
	http  *httptest.Server
	db    *store.DB
}

func newRig(t testing.TB, place string, change ...func(*coordinator.Options)) *rig {
	t.Helper()
	r := &rig{t: t, clock: &clock{now: time.UnixMilli(1_800_000_000_000)}}
	var err error
	if r.world, err = simulated.New(address.Regtest, "", func() int64 { return r.clock.Now().UnixMilli() }); err != nil {
		t.Fatal(err)
	}
	r.db = storetest.Open(t, place, store.Options{Schemas: books.Schemas()})
	o := coordinator.Options{Policy: market.Defaults(address.Regtest), DB: r.db, Lightning: r.world.Lightning(), Chain: r.world.Chain(), Clock: r.clock}
	for _, c := range change {
		c(&o)
	}
	if r.desk, err = coordinator.Open(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.desk.Audit(context.Background()); err != nil {
			t.Error(err)
		}
		if err := r.desk.Close(); err != nil {
			t.Error(err)
		}
	})
	s, err := routes.New(routes.Options{Desk: r.desk, Tokens: routes.Tokens{Mesh: meshToken, Portal: portalToken, Admin: adminToken}})
	if err != nil {
		t.Fatal(err)
	}
	r.http = httptest.NewServer(s)
	t.Cleanup(r.http.Close)
	return r
}

func keyOf(id string) ed25519.PrivateKey {
	seed := make([]byte, 32)
	copy(seed, id)
	return ed25519.NewKeyFromSeed(seed)
}

func (r *rig) robot(id string) *client.Robot {
	r.t.Helper()
	c, err := client.NewRobot(r.http.URL, meshToken, id, client.Ed25519(keyOf(id)), client.Clock(r.clock.Now), client.HTTP(r.http.Client()))
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// registered is a robot that is ready to claim.
func (r *rig) registered(id, at string, capabilities ...string) *client.Robot {
	r.t.Helper()
	c := r.robot(id)
	if _, err := c.Register(r.t.Context(), client.Registration{PayoutAddress: at, Capabilities: append([]string{"camera"}, capabilities...), RobotKind: "rover"}); err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) portal(account string) *client.Portal {
	r.t.Helper()
	c, err := client.NewPortal(r.http.URL, portalToken, account, client.HTTP(r.http.Client()))
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) operator() *client.Operator {
	r.t.Helper()
	c, err := client.NewOperator(r.http.URL, adminToken, client.HTTP(r.http.Client()))
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func job(sats int64) wire.CreateBody {
	return wire.CreateBody{Title: "Photograph the bridge", Description: "From the north side.", TaskKind: "physical", ResourceRequirements: []string{"camera"}, AmountSats: sats}
}

// funded is a task whose invoice was paid.
func (r *rig) funded(body wire.CreateBody) market.Task {
	r.t.Helper()
	made, err := r.portal("alice").Create(r.t.Context(), body, "")
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.world.PayInvoice(made.Invoice.Bolt11); err != nil {
		r.t.Fatal(err)
	}
	if err := r.desk.Funding(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	t, err := r.desk.Task(r.t.Context(), made.Task.TaskID)
	if err != nil || t.Status != market.Funded {
		r.t.Fatalf("task is %s after it was paid: %v", t.Status, err)
	}
	return t
}

// proved is a funded task that a robot claimed and proved.
func (r *rig) proved(robot *client.Robot, body wire.CreateBody) market.Task {
	r.t.Helper()
	t := r.funded(body)
	if _, err := robot.Claim(r.t.Context(), t.TaskID); err != nil {
		r.t.Fatal(err)
	}
	t, err := robot.Prove(r.t.Context(), t.TaskID, map[string]any{"photo": "sha256:00"})
	if err != nil {
		r.t.Fatal(err)
	}
	return t
}

// send sends anything.
func (r *rig) send(method, path, token, body string, change ...func(*http.Request)) (status int, problem client.Error, text string) {
	r.t.Helper()
	q, err := http.NewRequest(method, r.http.URL+path, bytes.NewReader([]byte(body)))
	if err != nil {
		r.t.Fatal(err)
	}
	if token != "" {
		q.Header.Set("Authorization", "Bearer "+token)
	}
	q.Header.Set("Content-Type", "application/json")
	for _, c := range change {
		c(q)
	}
	a, err := r.http.Client().Do(q)
	if err != nil {
		r.t.Fatal(err)
	}
	defer a.Body.Close()
	raw, err := io.ReadAll(a.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	_ = json.Unmarshal(raw, &problem) // an answer that is no problem leaves it empty
	return a.StatusCode, problem, string(raw)
}

func wantCode(t testing.TB, err error, code string) {
	t.Helper()
	if got := client.CodeOf(err); got != code || err == nil {
		t.Fatalf("got %v, want code %q", err, code)
	}
}

// state is everything in the books, as text, but nonces.
func (r *rig) state() string {
	r.t.Helper()
	totals, err := r.operator().Treasury(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	list, err := r.desk.Tasks(r.t.Context(), books.Filter{Limit: 1000})
	if err != nil {
		r.t.Fatal(err)
	}
	sweeps, err := r.desk.Sweeps(r.t.Context(), 0, "", 100)
	if err != nil {
		r.t.Fatal(err)
	}
	text, err := json.Marshal([]any{totals.Ledger, list, sweeps})
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}

func place(t testing.TB) string { return fmt.Sprintf("%s/market.db", t.TempDir()) }
