package node_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"robotorq.org/reserve/market"
	"robotorq.org/reserve/market/address"
	"robotorq.org/reserve/market/routes"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/node"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
)

// mined is a reserve with a certificate of 64 units.
func mined(t *testing.T) *prooftest.Reserve {
	t.Helper()
	r := prooftest.New(t, prooftest.Tiny())
	robot := r.Enrol("robot-1", 3, 1)
	contract := r.Contract(16*1000, robot).ID
	for len(r.Certs) == 0 {
		r.Dig(robot.Report(contract, robot.Readings(60)))
		r.Pour(1000)
		r.Mint()
	}
	return r
}

func oreProof(t *testing.T, r *prooftest.Reserve, unit uint64) string {
	t.Helper()
	p, err := r.Bundle(1).Ore(unit, r.Profile.OrePerIngot)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestOreProofsInAProofAreVerifiedAgainstThePinnedRoot(t *testing.T) {
	r := mined(t)
	judge := node.OreJudge(proof.VerifyOptions{Profile: r.Profile, Roots: []merkle.Hash{r.Pin()}})
	stranger := node.OreJudge(proof.VerifyOptions{Profile: r.Profile, Roots: []merkle.Hash{{1}}})
	first, second := oreProof(t, r, 0), oreProof(t, r, 63)
	changed := strings.Replace(first, `"unit":0`, `"unit":1`, 1)
	payload := func(proofs ...string) string {
		return `{"photo":"sha256:00","oreProofs":[` + strings.Join(proofs, ",") + `]}`
	}
	many := make([]string, 17)
	for i := range many {
		many[i] = "{}"
	}
	for _, c := range []struct {
		name, payload  string
		checked, valid int
		faults         []string // what each begins with
	}{
		{"one", payload(first), 1, 1, nil},
		{"two", payload(first, second), 2, 2, nil},
		{"one of another unit", payload(second, changed), 2, 1, []string{"oreProofs/1: "}},
		{"the same twice", payload(first, second, first), 3, 2, []string{"oreProofs/2: is the unit of oreProofs/0"}},
		{"no proof at all", payload(`{"unit":0}`, `7`), 2, 0, []string{"oreProofs/0: ", "oreProofs/1: "}},
		{"more than are checked", payload(many...), 16, 0, append(slicesOf("oreProofs/", 16), "only the first 16")},
	} {
		v := judge(t.Context(), []byte(c.payload))
		if v == nil || v.Checked != c.checked || v.Valid != c.valid || len(v.Faults) != len(c.faults) {
			t.Errorf("%s: %+v", c.name, v)
			continue
		}
		for i, want := range c.faults {
			if !strings.HasPrefix(v.Faults[i], want) {
				t.Errorf("%s: %q, want %q", c.name, v.Faults[i], want)
			}
		}
	}
	if v := stranger(t.Context(), []byte(payload(first))); v == nil || v.Valid != 0 || len(v.Faults) != 1 || !strings.Contains(v.Faults[0], "root") {
		t.Errorf("a proof of another reserve: %+v", v)
	}
	for _, none := range []string{`{}`, `[]`, `{"oreProofs":[]}`, `{"oreProofs":"x"}`, `7`, `null`} {
		if v := judge(t.Context(), []byte(none)); v != nil {
			t.Errorf("%s: %+v", none, v)
		}
	}
}

func slicesOf(text string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = text
	}
	return out
}

// The reserve's own document describes the marketplace beside it, and both are served.
func TestAReserveServesTheMarketplaceBesideIt(t *testing.T) {
	visited := false
	cfg := node.Config{Origin: "test.robotorq.org/market", Demo: true, Market: &node.MarketConfig{
		Policy: market.Defaults(address.Regtest), Tokens: routes.Tokens{Mesh: "mesh", Portal: "portal", Admin: "admin"}}}
	err := run(t, cfg, func(url string) {
		visited = true
		status, text := get(t, url+"/api/openapi.json")
		var doc struct{ Paths map[string]map[string]any }
		if err := json.Unmarshal([]byte(text), &doc); err != nil || status != http.StatusOK {
			t.Errorf("the document: %d, %v", status, err)
		}
		for _, path := range []string{"/robot/agents/register", "/robot/tasks", "/robot/tasks/{taskId}/claim", "/robot/treasury", "/api/v1/certificates"} {
			if doc.Paths[path] == nil {
				t.Errorf("%s is not in the document", path)
			}
		}
		if status, text := get(t, url+"/robot/treasury"); status != http.StatusUnauthorized || !strings.Contains(text, "token_missing") {
			t.Errorf("the treasury: %d %s", status, text)
		}
	})
	if err != nil || !visited {
		t.Fatal(err)
	}
}
