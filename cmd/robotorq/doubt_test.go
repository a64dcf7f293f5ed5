package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
)

// desk is a node that shows its charter and answers everything that is sent to it as it is
// told to; it keeps what came.
func desk(t *testing.T, r *prooftest.Reserve, answer http.HandlerFunc) (url string, sent func() [][]byte) {
	t.Helper()
	var mu sync.Mutex
	var bodies [][]byte
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/charter", func(w http.ResponseWriter, _ *http.Request) {
		var raw []json.RawMessage
		for _, v := range r.Registry.Charters() {
			text, err := json.Marshal(v.Envelope)
			must(t, err)
			raw = append(raw, text)
		}
		must(t, json.NewEncoder(w).Encode(api.Charter{Origin: prooftest.Origin, Envelopes: raw}))
	})
	mux.HandleFunc("POST /", func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		must(t, err)
		mu.Lock()
		bodies = append(bodies, body)
		mu.Unlock()
		answer(w, q)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL, func() [][]byte { mu.Lock(); defer mu.Unlock(); return bodies }
}

// A proposal has a random id: made anew it would be a second contract. So one that may have
// been taken is kept, and sent again as it is.
func TestAProposalWithoutAnAnswerIsKeptAndSentAgainAsItIs(t *testing.T) {
	r, _ := dataOf(t)
	for name, way := range doubtful {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits most of the time
			url, sent := desk(t, r, inTurn(way))
			file := filepath.Join(t.TempDir(), "works.json")
			ok(t, "wallet", "new", "works", "--org", "--wallet", file)
			propose := []string{"contract", "propose", "--wallet", file, "--url", url, "--owner", "works", "--robot", "robot-a", "--work", "7200", "--release", "uniform 10h", "--deadline", "24h"}
			o := fails(t, exitFailed, "whether the proposal was taken is not known", propose...)
			_, kept, _ := strings.Cut(o.err, "--again ")
			kept, _, _ = strings.Cut(kept, "`")
			first := sent()[0]
			taken, sentAgain := desk(t, r, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"number": 7, "state": "proposed"}`) })
			ok(t, "contract", "propose", "--again", kept, "--url", taken)
			if all := sentAgain(); len(all) != 1 || digestOf(t, all[0]) != digestOf(t, first) {
				t.Errorf("what is sent again is not what was sent first")
			}
		})
	}
}

func digestOf(t *testing.T, body []byte) string {
	t.Helper()
	var env seal.Envelope
	must(t, json.Unmarshal(body, &env))
	return env.Digest().String()
}

func TestAProposalThatANodeRefusesAtOnceIsNotKept(t *testing.T) {
	r, _ := dataOf(t)
	url, sent := desk(t, r, nodesNo)
	file := filepath.Join(t.TempDir(), "works.json")
	ok(t, "wallet", "new", "works", "--org", "--wallet", file)
	o := fails(t, exitFailed, "insufficient_funds", "contract", "propose", "--wallet", file, "--url", url, "--owner", "works", "--robot", "robot-a", "--work", "7200", "--release", "uniform 10h", "--deadline", "24h")
	left, err := filepath.Glob(filepath.Join(filepath.Dir(file), "proposal-*"))
	must(t, err)
	if len(left) != 0 || len(sent()) != 1 || strings.Contains(o.err, "not known") {
		t.Errorf("%v, sent %d times: %s", left, len(sent()), o.err)
	}
}

// What a trust key signs names its contract: the same command again does it once.
func TestADoubtfulInstructionSaysThatItMayBeGivenAgain(t *testing.T) {
	r, _ := dataOf(t)
	for name, way := range doubtful {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, _ := desk(t, r, inTurn(way))
			o := fails(t, exitFailed, `whether "countersign" was done to contract 7 is not known`, "contract", "countersign", "7", "--url", url, "--token", "secret")
			if !strings.Contains(o.err, "Give the same command again") {
				t.Error(o.err)
			}
		})
	}
}

// A policy that may be announced already must not be made again: the next one would come
// after it.
func TestADoubtfulPolicyIsKept(t *testing.T) {
	r, _ := dataOf(t)
	dir := t.TempDir()
	t.Chdir(dir)
	signed := filepath.Join(dir, "signed.json")
	env := r.Sign(prooftest.Root, "application/vnd.robotorq.policy.v1+json", []byte("{}"))
	body, err := json.Marshal(env)
	must(t, err)
	must(t, os.WriteFile(signed, body, 0o600))
	url, sent := desk(t, r, inTurn(doubtful["a proxy's no"]))
	o := fails(t, exitFailed, "whether the policy was announced is not known", "policy", "propose", "--signed", signed, "--url", url)
	if !strings.Contains(o.err, "--signed "+signed) || digestOf(t, sent()[0]) != env.Digest().String() {
		t.Error(o.err)
	}
	if after, err := os.ReadFile(signed); err != nil || digestOf(t, after) != env.Digest().String() {
		t.Errorf("%s, %v", after, err)
	}
}
