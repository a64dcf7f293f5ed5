package proof

import (
	"fmt"
	"sync"
	"sync/atomic"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/seal"
)

// CheckOptions say how a batch is checked.
type CheckOptions struct {
	NowMS   uint64 // the consumer's clock; 0: the batch may carry any time
	Workers int    // goroutines that verify signatures; below 2: none beside the caller
	// Since widens the window of knowledge (see CheckBatch): how many artefacts
	// of the registry the digger is sure to have known when it sealed. 0 leaves
	// the window at KnowledgeLagMS.
	Since int
}

// Accepted is a report as a batch counts it.
type Accepted struct {
	Signed
	Entry Entry
}

// Checked is a batch to whose every entry the checker came itself.
type Checked struct {
	Batch   Batch
	Digest  merkle.Hash
	Reports []Accepted // in entry order
}

// CheckBatch repeats every check of a digger's batch: its form, signature, place
// in the digger's chain and time, and for every report form, signatures, link and
// judgement. It accepts only a batch to whose entries it comes itself, and then
// enters it into the state; a batch with a fault changes nothing. The *Fault names
// the entry and wraps the *Refusal when a report in it should have been refused (a
// LinkGap may mean that a batch of the robot's former digger has not arrived yet).
//
// Window of knowledge: the digger may not have heard, when it sealed, of what was
// logged shortly before. So an entry that counts nothing under a named rule is
// accepted when the rule holds either by what is known now, or by what was known
// at some point since KnowledgeLagMS before the batch, as the artefacts' own times
// tell (or since opts.Since, if that is earlier). An entry with ore never counts
// more than derived from what is known now.
func (a *Assay) CheckBatch(m BatchMessage, opts CheckOptions) (Checked, error) {
	checked, f := a.openBatch(m, opts.NowMS)
	if f != nil {
		return Checked{}, f
	}
	window := window{now: a.registry.now()}
	if checked.Batch.Sealed > KnowledgeLagMS {
		window.low = a.registry.KnownAt(checked.Batch.Sealed - KnowledgeLagMS)
	}
	if opts.Since > 0 {
		window.low = min(window.low, opts.Since)
	}
	signed, refusals := authenticateAll(window.now, m.Reports, checked.Batch.Digger, opts.Workers)
	draft := a.draft()
	for i, s := range signed {
		entry, f := draft.repeat(window, checked, i, s, refusals[i], m.Reports[i])
		if f != nil {
			return Checked{}, f
		}
		draft.Accept(entry.Signed, entry.Entry)
		checked.Reports = append(checked.Reports, entry)
	}
	draft.advance(checked.Batch, checked.Digest)
	a.Restore(draft.State())
	a.changed.mark(draft.state)
	return checked, nil
}

// openBatch checks all of a batch but its reports.
func (a *Assay) openBatch(m BatchMessage, nowMS uint64) (Checked, *Fault) {
	digest := m.Batch.Digest()
	if m.Batch.PayloadType != TypeBatch {
		return Checked{}, fault("batch", digest, "payload_type", "%q is not that of a batch", clip(m.Batch.PayloadType))
	}
	b, err := DecodeBatch(m.Batch.Payload)
	if err != nil {
		return Checked{}, fault("batch", digest, "form", "%v", err)
	}
	name := fmt.Sprintf("batch %s/%d", b.Digger, b.Seq)
	mark := a.Digger(b.Digger)
	switch {
	case b.Origin != a.registry.Origin():
		return Checked{}, fault(name, digest, "origin", "it is for %q, this is %q", b.Origin, a.registry.Origin())
	case b.Seq != mark.Seq+1 || b.Prev != mark.Digest:
		return Checked{}, fault(name, digest, "batch_link", "it follows %s, the chain is at seq %d, %s", b.Prev, mark.Seq, mark.Digest)
	case b.Sealed < mark.Sealed:
		return Checked{}, fault(name, digest, "time_order", "sealed at %d, before the batch before it at %d", b.Sealed, mark.Sealed)
	case nowMS != 0 && b.Sealed > nowMS+SkewMS:
		return Checked{}, fault(name, digest, "future", "sealed at %d, it is %d here", b.Sealed, nowMS)
	case len(b.Entries) != len(m.Reports):
		return Checked{}, fault(name, digest, "batch_reports", "%d entries, %d reports", len(b.Entries), len(m.Reports))
	}
	if f := a.registry.now().signedBy(name, m.Batch, seal.RoleDigger, b.Digger, b.Sealed); f != nil {
		return Checked{}, f
	}
	return Checked{Batch: b, Digest: digest, Reports: make([]Accepted, 0, len(b.Entries))}, nil
}

// authenticateAll authenticates reports side by side; results are in their order.
func authenticateAll(v view, envs []seal.Envelope, digger string, workers int) ([]Signed, []*Refusal) {
	signed, refusals := make([]Signed, len(envs)), make([]*Refusal, len(envs))
	var next atomic.Int64
	work := func() {
		for i := next.Add(1) - 1; i < int64(len(envs)); i = next.Add(1) - 1 {
			signed[i], refusals[i] = authenticate(v, envs[i], digger)
		}
	}
	var group sync.WaitGroup
	for range min(workers, len(envs)) - 1 {
		group.Go(work)
	}
	work()
	group.Wait()
	return signed, refusals
}

// window is the range of knowledge by which a digger may have judged.
type window struct {
	now view
	low int
}

// repeat comes to entry i of a batch, or says why not.
func (a *Assay) repeat(w window, c Checked, i int, s Signed, refusal *Refusal, env seal.Envelope) (Accepted, *Fault) {
	want := c.Batch.Entries[i]
	var got Entry
	if refusal == nil {
		if got, refusal = a.judge(w.now, s, c.Batch.Digger, c.Batch.Sealed); refusal == nil && got == want {
			return Accepted{Signed: s, Entry: got}, nil
		}
	}
	if want.Ore == 0 && want.Rule != Counted {
		if s, ok := a.repeatEarlier(w, c, want, env); ok {
			return Accepted{Signed: s, Entry: want}, nil
		}
	}
	name := fmt.Sprintf("batch %s/%d entry %d", c.Batch.Digger, c.Batch.Seq, i)
	if refusal != nil {
		return Accepted{}, &Fault{Artefact: name, Digest: env.Digest(), Rule: string(refusal.Code), Detail: refusal.Error(), Err: refusal}
	}
	return Accepted{}, fault(name, env.Digest(), entryRule(got, want),
		"robot %s, report %d: the batch says %s, the report gives %s", s.Report.Robot, s.Report.Seq, want, got)
}

// entryRule names what an entry gets wrong.
func entryRule(got, want Entry) string {
	switch {
	case got.Report != want.Report:
		return "batch_reports"
	case got.Rule != want.Rule && got.Rule != Counted:
		return string(got.Rule)
	case got.Rule != want.Rule:
		return "batch_rule"
	case got.Ore != want.Ore:
		return "batch_ore"
	}
	return "batch_carry"
}

// repeatEarlier tries whether an entry without ore holds by what was known
// earlier in the window, latest first.
func (a *Assay) repeatEarlier(w window, c Checked, want Entry, env seal.Envelope) (Signed, bool) {
	for known := w.now.known - 1; known >= max(w.low, 1); known-- {
		v := a.registry.before(known)
		s, refusal := Reopen(env)
		if refusal != nil {
			return Signed{}, false
		}
		got, refusal := a.judge(v, s, c.Batch.Digger, c.Batch.Sealed)
		if refusal != nil || got != want {
			continue
		}
		if s, refusal = authenticate(v, env, c.Batch.Digger); refusal == nil {
			return s, true
		}
	}
	return Signed{}, false
}
