package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/wallet"
)

// doubtful are ways in which a node's side ends an order that it may have done.
var doubtful = map[string][]func(http.ResponseWriter, *http.Request){
	"done without an answer, then a proxy's no": {hangUp, http.NotFound},
	"done without an answer, then a node's no":  {hangUp, nodesNo},
	"a proxy's no":                                  {http.NotFound},
	"a node's fault, then a node's no":              {nodesFault, nodesNo},
	"a problem document of a node that says little": {nodesUnexplained},
}

func hangUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func nodesNo(w http.ResponseWriter, q *http.Request) {
	api.WriteProblem(w, q, api.Errorf(api.CodeInsufficientFunds, "No."))
}

func nodesFault(w http.ResponseWriter, q *http.Request) {
	api.WriteProblem(w, q, api.Errorf(api.CodeUnavailable, "Later."))
}

func nodesUnexplained(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", api.ProblemType)
	w.WriteHeader(http.StatusBadRequest)
	fmt.Fprint(w, `{"code":"internal","status":400}`)
}

// inTurn answers a way's first attempt with its first part, and so on; the last stays.
func inTurn(way []func(http.ResponseWriter, *http.Request)) http.HandlerFunc {
	n := 0
	return func(w http.ResponseWriter, q *http.Request) {
		now := way[min(n, len(way)-1)]
		n++
		now(w, q)
	}
}

// secretsIn are the files of bearers' secrets of a directory.
func secretsIn(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "bond-*.secret"))
	must(t, err)
	return files
}

func TestANoIsBelievedOnlyOfANodeThatAnsweredTheFirstAttempt(t *testing.T) {
	r, _ := dataOf(t)
	for name, way := range doubtful {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits most of the time
			c := openCounter(t, r)
			file, _ := newWallet(t, "ada")
			bonds := t.TempDir()
			for command, args := range map[string][]string{
				"send":  {"wallet", "send", "member:bob", "1RT"},
				"issue": {"bond", "issue", "1RT", "--dir", bonds},
			} {
				c.answer = inTurn(way)
				o := fails(t, exitFailed, "whether the order was done is not known", append(args, "--wallet", file, "--url", c.url)...)
				_, kept, _ := strings.Cut(o.err, "--again ")
				kept, _, _ = strings.Cut(kept, "`")
				if _, err := os.Stat(kept); err != nil {
					t.Errorf("%s: the order is not kept: %v\n%s", command, err, o.err)
				}
				if command == "issue" && (len(secretsIn(t, bonds)) != 1 || !strings.Contains(o.err, "keep the secret in")) {
					t.Errorf("the bond's only secret is %v: %s", secretsIn(t, bonds), o.err)
				}
			}
		})
	}
	c := openCounter(t, r)
	file, _ := newWallet(t, "ada")
	bonds := t.TempDir()
	c.answer = inTurn([]func(http.ResponseWriter, *http.Request){nodesNo})
	if o := fails(t, exitFailed, "insufficient_funds", "bond", "issue", "1RT", "--dir", bonds, "--wallet", file, "--url", c.url); strings.Contains(o.err, "not known") || len(secretsIn(t, bonds)) != 0 {
		t.Errorf("a plain no left %v: %s", secretsIn(t, bonds), o.err)
	}
}

func TestANoToAnOrderThatIsSentAgainIsNotAboutTheFirstTime(t *testing.T) {
	r, _ := dataOf(t)
	c := openCounter(t, r)
	file, _ := newWallet(t, "ada")
	c.answer = hangUp
	o := fails(t, exitFailed, "not known", "wallet", "send", "member:bob", "1RT", "--wallet", file, "--url", c.url)
	_, kept, _ := strings.Cut(o.err, "--again ")
	kept, _, _ = strings.Cut(kept, "`")
	c.answer = nodesNo
	fails(t, exitFailed, "not known", "wallet", "send", "--again", kept, "--wallet", file, "--url", c.url)
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("the order is not kept: %v", err)
	}
}

func TestAReissueWithoutAnAnswerKeepsTheNewSecret(t *testing.T) {
	dir := t.TempDir()
	old, err := wallet.NewSecret()
	must(t, err)
	secret := filepath.Join(dir, "old")
	must(t, wallet.WriteSecret(secret, "", wallet.KeptSecret{Origin: prooftest.Origin, Face: 1, Secret: old}))
	for name, way := range doubtful {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits most of the time
			fresh := t.TempDir()
			fails(t, exitFailed, "keep the secret in "+fresh, "bond", "reissue", "7", "--secret", secret, "--dir", fresh, "--url", mint(t, inTurn(way)))
			if len(secretsIn(t, fresh)) != 1 {
				t.Errorf("the new secret is gone: %v", secretsIn(t, fresh))
			}
		})
	}
	fresh := t.TempDir()
	if o := fails(t, exitFailed, "insufficient_funds", "bond", "reissue", "7", "--secret", secret, "--dir", fresh, "--url", mint(t, nodesNo)); strings.Contains(o.err, "not known") || len(secretsIn(t, fresh)) != 0 {
		t.Errorf("a plain no left %v: %s", secretsIn(t, fresh), o.err)
	}
}

// mint is a node's HTTP side as far as a bond's bearer uses it.
func mint(t *testing.T, reissue http.HandlerFunc) (url string) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/charter", func(w http.ResponseWriter, _ *http.Request) {
		must(t, json.NewEncoder(w).Encode(api.Charter{Origin: prooftest.Origin}))
	})
	mux.HandleFunc("GET /api/v1/bonds/7", func(w http.ResponseWriter, _ *http.Request) {
		must(t, json.NewEncoder(w).Encode(api.Bond{Serial: 7, Face: 1, State: "live"}))
	})
	mux.HandleFunc("POST /api/v1/reissues", reissue)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}
