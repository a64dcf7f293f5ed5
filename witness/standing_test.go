package witness_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/mint/prooflog"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/witness"
)

// logOf opens a log of the keys of history, cosigned as the options say.
func logOf(t *testing.T, dir string, ws *prooflog.Witnesses) *prooflog.Log {
	t.Helper()
	s, err := logSigner()
	must(t, err)
	signers, err := checkpoint.Signers(s)
	must(t, err)
	l, err := prooflog.Open(t.Context(), dir, prooflog.Options{Signer: signers[0], Additional: signers[1:], Witnesses: ws})
	must(t, err)
	t.Cleanup(func() { must(t, l.Close(context.Background())) })
	return l
}

func appended(t *testing.T, l *prooflog.Log, what string) string {
	t.Helper()
	e, err := checkpoint.Entry(proof.TypeHead, merkle.LeafHash([]byte(what)))
	must(t, err)
	_, err = l.Append(t.Context(), [][]byte{e})
	must(t, err)
	signed, err := l.Checkpoint(t.Context())
	must(t, err)
	return string(signed)
}

func TestALogKnowsHowItStandsWithItsWitnesses(t *testing.T) {
	h := newHistory(t)
	w := newWitness(t, "witness.example/w1", witness.LogOf(origin, h.verifiers()...))
	policy := mustPolicy(t, 1, w.serve(t)).Text()
	var held atomic.Bool
	held.Store(true)
	var told atomic.Int64
	dir := filepath.Join(t.TempDir(), "log")
	l := logOf(t, dir, &prooflog.Witnesses{Policy: policy, Hold: held.Load, Told: func(prooflog.WitnessState) { told.Add(1) }})
	if signed := appended(t, l, "a"); strings.Contains(signed, "witness.example/w1") || told.Load() != 0 {
		t.Errorf("asked although held back: %s", signed)
	}
	held.Store(false)
	if signed := appended(t, l, "b"); !strings.Contains(signed, "witness.example/w1") {
		t.Errorf("not cosigned: %s", signed)
	}
	states := l.Witnesses()
	if len(states) != 1 || states[0].Name != "witness.example/w1" || states[0].Cosigned == 0 || states[0].Err != nil || states[0].Contradicts || told.Load() == 0 {
		t.Fatalf("%+v", states)
	}
	copied := filepath.Join(t.TempDir(), "copy")
	must(t, l.Close(t.Context()))
	must(t, os.CopyFS(copied, os.DirFS(dir)))

	// Two histories from here on: the witness follows one of them, and tells the other.
	l = logOf(t, dir, &prooflog.Witnesses{Policy: policy})
	appended(t, l, "c")
	other := logOf(t, copied, &prooflog.Witnesses{Policy: policy})
	signed := appended(t, other, "d")
	states = other.Witnesses()
	if strings.Contains(signed, "witness.example/w1") || len(states) != 1 || !states[0].Contradicts || states[0].Err == nil {
		t.Fatalf("the fork: %s %+v", signed, states)
	}
	if said := states[0].Err.Error(); strings.Count(said, origin+"\n3\n") != 2 {
		t.Errorf("without both checkpoints: %s", said)
	}
	must(t, other.Close(t.Context()))
	behind := filepath.Join(t.TempDir(), "behind")
	l2 := logOf(t, behind, &prooflog.Witnesses{Policy: policy})
	appended(t, l2, "a")
	if states = l2.Witnesses(); !states[0].Contradicts || !strings.Contains(states[0].Err.Error(), "has cosigned 3 entries") {
		t.Errorf("a log that is behind its witness: %+v", states)
	}
}
