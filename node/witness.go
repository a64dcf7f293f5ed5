package node

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/feed"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/mint/prooflog"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/witness"
)

// WitnessConfig says who cosigns the checkpoints of the reserve's log.
type WitnessConfig struct {
	// Policy is a C2SP tlog-policy file with an address for every witness; empty:
	// nobody is asked. The witnesses' keys become part of the charter: of the
	// first one in a new reserve, of a next one, for which the root key must be at
	// hand, in one that has run before.
	Policy []byte
	// Required stops the mint while the quorum cannot be reached. Otherwise
	// checkpoints are published with the cosignatures that there are, and a
	// witness that is silent is told of in the log, in /readyz and in the metrics.
	Required bool
	Timeout  time.Duration // how long a checkpoint waits for its witnesses; 0: 3 s
}

// witnesses are those that the log asks.
type witnesses struct {
	policy witness.Policy
	keys   []seal.Key
	listed atomic.Bool // by a charter that is in the log
}

// witnessSkew is how far the clock of a witness may be behind that of the reserve
// when its key is entered in the charter.
const witnessSkew = policy.Day

// readWitnesses reads the policy and finds out whether the charter in the log
// lists those whom it names.
func (n *Node) readWitnesses(ctx context.Context) error {
	if len(n.cfg.Witnesses.Policy) == 0 {
		if n.cfg.Witnesses.Required {
			return errors.New("witnesses are required, and no witness policy says which: give one with --witness-policy")
		}
		return nil
	}
	p, err := witness.ParsePolicy(n.cfg.Witnesses.Policy)
	if err != nil {
		return err
	}
	w := &witnesses{policy: p}
	for _, of := range p.Witnesses {
		_, public, err := checkpoint.ParseCosignerKey(of.Key)
		if err != nil {
			return err
		}
		if of.URL == "" {
			return fmt.Errorf("witness %s has no address in the policy: a reserve that asks for cosignatures needs one", of.Name)
		}
		from := uint64(n.clock.Now().UnixMilli()) - witnessSkew
		w.keys = append(w.keys, seal.NewKey(of.Verifier().Name(), seal.RoleWitness, seal.Ed25519, public, from))
	}
	logged, err := feed.Load(ctx, n.dbs["vault"], n.profile)
	if err != nil {
		return err
	}
	w.listed.Store(w.in(logged.Charter()))
	n.witnesses = w
	if w.listed.Load() {
		return nil
	}
	founded, err := n.founded(ctx)
	if err != nil {
		return err
	}
	switch {
	case !founded:
		w.listed.Store(true) // the first entry of the log is the charter that lists them
		n.ring.Witnesses = w.keys
	case n.ring.Root == nil:
		return errors.New("the charter does not list the witnesses of the policy, and the root key that could sign one that does is not here: bring it back to root/ for this start")
	case n.cfg.Witnesses.Required:
		return errors.New("the charter does not list the witnesses of the policy yet: start once without --require-witnesses, which enters them, and then with it")
	}
	return nil
}

// founded tells whether there is a charter already, be it on its way to the log.
func (n *Node) founded(ctx context.Context) (yes bool, err error) {
	err = n.dbs["trust"].View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM trust_document)").Scan(&yes)
	})
	return yes, err
}

// in tells whether a charter lists all of them, with open keys.
func (w *witnesses) in(charter *seal.Charter) bool {
	if charter == nil {
		return false
	}
	known := map[string]bool{}
	for _, k := range charter.KeysOf(seal.RoleWitness) {
		known[k.KeyID] = k.NotAfterMS == nil
	}
	for _, k := range w.keys {
		if !known[k.KeyID] {
			return false
		}
	}
	return true
}

// logWitnesses is what the log is opened with; nil without witnesses.
func (n *Node) logWitnesses() *prooflog.Witnesses {
	if n.witnesses == nil {
		return nil
	}
	log := n.log.With("room", "witnesses")
	told := func(s prooflog.WitnessState) {
		switch {
		case s.Contradicts:
			log.Error("a witness has cosigned another history of this log: stop the reserve and find out whether it was restored", "witness", s.Name, "err", s.Err)
		case s.Err != nil:
			log.Warn("no cosignature", "witness", s.Name, "failed", s.Failed, "err", s.Err)
		}
	}
	out := &prooflog.Witnesses{Policy: n.witnesses.policy.Text(), Required: n.cfg.Witnesses.Required, Timeout: n.cfg.Witnesses.Timeout, Told: told}
	if !out.Required {
		out.Hold = func() bool { return !n.witnesses.listed.Load() }
	}
	return out
}

// listWitnesses enters the witnesses in the charter of a reserve that was founded
// without them, and asks them once that charter is in the log.
func (n *Node) listWitnesses(ctx context.Context) error {
	if n.witnesses == nil || n.witnesses.listed.Load() {
		return nil
	}
	var latest *seal.SignedCharter
	n.trust.With(func(r *proof.Registry) {
		if all := r.Charters(); len(all) > 0 {
			latest = all[len(all)-1]
		}
	})
	if latest != nil && !n.witnesses.in(latest.Charter) {
		env, err := n.witnesses.enter(latest, n.ring.Root, uint64(n.clock.Now().UnixMilli()))
		if err == nil {
			err = n.trust.Submit(ctx, env)
		}
		if err != nil {
			return fmt.Errorf("the witnesses cannot be entered in the charter: %w", err)
		}
	}
	n.start(ctx, "witnesses", n.awaitListing)
	return nil
}

// enter makes the next charter, in which all witnesses are. One that has a new key
// under its old name loses the old key.
func (w *witnesses) enter(latest *seal.SignedCharter, root *seal.Signer, now uint64) (seal.Envelope, error) {
	next := latest.Next(latest.Digest, max(now, latest.IssuedMS))
	for _, k := range w.keys {
		there := false
		for _, old := range latest.KeysOf(seal.RoleWitness, k.Name) {
			there = there || old.KeyID == k.KeyID
			if old.KeyID != k.KeyID && old.NotAfterMS == nil {
				if err := next.EndKey(old.KeyID, next.IssuedMS); err != nil {
					return seal.Envelope{}, err
				}
			}
		}
		if !there {
			next.Keys = append(next.Keys, k)
		}
	}
	if !w.in(next) {
		return seal.Envelope{}, errors.New("the charter has ended the key of one of them; a witness comes back with a new key")
	}
	return next.Sign(root)
}

// awaitListing waits until the charter that lists the witnesses is logged.
func (n *Node) awaitListing(ctx context.Context) error {
	for ctx.Err() == nil {
		n.vault.With(func(_ *ledger.Book, r *proof.Registry) { n.witnesses.listed.Store(n.witnesses.in(r.Charter())) })
		if n.witnesses.listed.Load() {
			break
		}
		over, stop := n.clock.NewTimer(100 * time.Millisecond)
		select {
		case <-over:
		case <-ctx.Done():
		}
		stop()
	}
	<-ctx.Done()
	return nil
}

// contradicted is the error of a witness that has cosigned another history.
func (n *Node) contradicted() error {
	if n.prooflog == nil {
		return nil
	}
	for _, s := range n.prooflog.Witnesses() {
		if s.Contradicts {
			return fmt.Errorf("witness %s has cosigned another history of this log: %w", s.Name, s.Err)
		}
	}
	return nil
}

// tellWitnesses writes how each witness stands, for /readyz.
func (n *Node) tellWitnesses(out io.Writer) {
	for _, s := range n.prooflog.Witnesses() {
		how := "not asked yet"
		switch {
		case s.Err != nil:
			first, _, _ := strings.Cut(s.Err.Error(), "\n")
			how = "no cosignature: " + first
		case s.Cosigned > 0:
			how = fmt.Sprintf("cosigned %d checkpoints", s.Cosigned)
		}
		fmt.Fprintf(out, "witness %s: %s\n", s.Name, how)
	}
}

// Figures of the witnesses that the log asks.
var (
	witnessUp     = figure{"witness_up", "1 when the witness cosigned the latest checkpoint that it was asked for.", prometheus.GaugeValue, []string{"witness"}}
	witnessSigned = figure{"witness_cosigned_total", "Checkpoints that the witness cosigned since the start.", prometheus.CounterValue, []string{"witness"}}
	witnessFailed = figure{"witness_failed_total", "Requests to the witness without a cosignature since the start.", prometheus.CounterValue, []string{"witness"}}
	witnessForked = figure{"witness_contradicts", "1 when the witness has cosigned another history of this log.", prometheus.GaugeValue, []string{"witness"}}
)

// witnessMeters reads what the log knows of its witnesses when it is asked for.
type witnessMeters struct{ n *Node }

// Describe implements prometheus.Collector.
func (m *witnessMeters) Describe(out chan<- *prometheus.Desc) {
	for _, f := range []figure{witnessUp, witnessSigned, witnessFailed, witnessForked} {
		out <- f.desc()
	}
}

// Collect implements prometheus.Collector.
func (m *witnessMeters) Collect(out chan<- prometheus.Metric) {
	as := map[bool]float64{true: 1}
	for _, s := range m.n.prooflog.Witnesses() {
		for f, v := range map[*figure]float64{
			&witnessUp: as[s.Err == nil && s.Cosigned > 0], &witnessSigned: float64(s.Cosigned), &witnessFailed: float64(s.Failed), &witnessForked: as[s.Contradicts],
		} {
			out <- prometheus.MustNewConstMetric(f.desc(), f.kind, v, s.Name)
		}
	}
}
