//go:build browser

package browser_test

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/client"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/node"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/test/running"
	"robotorq.org/reserve/torq"
)

// demoPolicy lets the demo's people have money soon, and lets one of them put a whole
// RT into a bond.
const demoPolicy = `{"genesis_growth": "0.1", "min_members": 2, "stake_target": 36000000, "release_every": 1000, "backlog_over": 4000,
	"closing_notice": 5000, "bond_cap": "0.9"}`

// resident is a member who joined by the commands, beside the demo's own people.
type resident struct {
	account, wallet string
	url             string
}

// MustJoin makes a wallet and has it admitted.
func MustJoin(t *testing.T, id string) resident {
	t.Helper()
	p := MustDemo(t)
	dir := filepath.Join(demo.dir, id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r := resident{account: "member:" + id, wallet: filepath.Join(dir, "wallet.json"), url: p.URL}
	request := filepath.Join(dir, "request.json")
	made := running.MustPass(t, "wallet", "new", id, "--wallet", r.wallet, "--backup", filepath.Join(dir, "words"))
	for name, text := range map[string]string{request: made.Out, filepath.Join(dir, "subject"): "the person " + id} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	running.MustPass(t, "members", "enrol", request, "--subject-file", filepath.Join(dir, "subject"), "--data", demo.data(), "--url", p.URL)
	return r
}

func (s *shared) data() string { return filepath.Join(s.dir, "demo") }

// balance is what the wallet's own command says.
func (r resident) balance(t *testing.T) (b api.Balance) {
	t.Helper()
	out := running.MustPass(t, "wallet", "balance", "--wallet", r.wallet, "--url", r.url, "--json").Out
	if err := json.Unmarshal([]byte(out), &b); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return b
}

// MustGather waits until a resident has so much: the demo's people give it, each by
// an order of its own key.
func (r resident) MustGather(t *testing.T, jt torq.JT) {
	t.Helper()
	for until := time.Now().Add(4 * time.Minute); r.balance(t).JT < jt; time.Sleep(2 * time.Second) {
		if time.Now().After(until) {
			t.Fatalf("%s has only %d JT after four minutes", r.account, r.balance(t).JT)
		}
		for _, account := range []string{"member:ada", "member:bela", "member:chidi", "member:dora", "member:emil"} {
			mustGive(t, r.url, account, r.account)
		}
	}
}

// mustGive sends most of what one of the demo's people has.
func mustGive(t *testing.T, url, from, to string) {
	t.Helper()
	keys, err := seal.ReadKeyFile(filepath.Join(demo.data(), "demo", strings.Replace(from, ":", "-", 1)+".json"), "")
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(url, nil, node.Clock{}, client.WithToken(mustToken(t, api.RolePortal)))
	if err != nil {
		t.Fatal(err)
	}
	balance, err := c.Balance(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	if balance.JT < 1000 {
		return
	}
	overview, err := c.Overview(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	now := uint64(time.Now().UnixMilli())
	order := ledger.Order{Origin: overview.Origin, From: from, Created: now, Expires: now + 60_000,
		Operations: []ledger.Operation{{Kind: ledger.OpSend, To: to, Amount: uint64(balance.JT) * 9 / 10, Memo: "a gift"}}}
	rand.Read(order.ID[:]) // never fails
	env, err := keys.Sign(proof.TypeOrder, order.Encode())
	if err != nil {
		t.Fatal(err)
	}
	document, err := json.Marshal(env)
	if err != nil {
		t.Fatal(err)
	}
	// They pay each other too: what was there may be gone.
	if _, err := c.Order(t.Context(), document, hex.EncodeToString(order.ID[:])); err != nil && !client.Is(err, api.Code(ledger.CodeInsufficientFunds)) {
		t.Fatal(err)
	}
}

var tokens = struct {
	sync.Mutex
	of map[api.Role]string
}{of: map[api.Role]string{}}

// mustToken is a token of a role, made by the command beside the running demo.
func mustToken(t *testing.T, role api.Role) string {
	t.Helper()
	MustDemo(t)
	tokens.Lock()
	defer tokens.Unlock()
	if token, ok := tokens.of[role]; ok {
		return token
	}
	var made struct{ Token string }
	out := running.MustPass(t, "tokens", "new", "browser-"+string(role), "--role", string(role), "--data", demo.data(), "--json").Out
	if err := json.Unmarshal([]byte(out), &made); err != nil || made.Token == "" {
		t.Fatalf("%v: %s", err, out)
	}
	tokens.of[role] = made.Token
	return made.Token
}

// issued is a bond that a resident of the demo has issued, once for all tests.
var issued struct {
	once         sync.Once
	dir          string
	serial       uint64
	file, secret string
}

// aBond is the serial of a bond that is live.
func aBond(t *testing.T, _ string) string {
	t.Helper()
	issued.once.Do(func() {
		fay := MustJoin(t, "fay")
		fay.MustGather(t, 3_700_000) // the bond and its fee
		dir := filepath.Join(demo.dir, "bonds")
		var b struct {
			Serial uint64
			File   string `json:"bond_file"`
			Secret string `json:"secret_file"`
		}
		out := running.MustPass(t, "bond", "issue", "1 RT", "--dir", dir, "--wallet", fay.wallet, "--url", fay.url, "--json").Out
		if err := json.Unmarshal([]byte(out), &b); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		issued.dir, issued.serial, issued.file, issued.secret = dir, b.Serial, b.File, b.Secret
	})
	if issued.serial == 0 {
		t.Fatal("no bond was issued")
	}
	return fmt.Sprint(issued.serial)
}
