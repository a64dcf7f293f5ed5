package proof

import (
	"fmt"
	"slices"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// NewPour makes the payload of a refinery's next pour over ingots that
// IngotBuilder cut and HashIngots completed, and their records. mark is the
// refinery's last pour (zero value at first); the pour's sealed_ms is nowMS or, if
// later, that of the pour before or coversMS, the largest sealed_ms of the batches
// behind the ingots: time never falls along the chain.
//
// It fails when there are no ingots, more than MaxPourIngots, or when their seqs
// do not follow each other.
func NewPour(origin, refinery string, mark ProducerState, ingots []Ingot, nowMS, coversMS uint64) (Pour, [][]byte, error) {
	if len(ingots) == 0 || len(ingots) > MaxPourIngots {
		return Pour{}, nil, fmt.Errorf("a pour has 1 to %d ingots, not %d", MaxPourIngots, len(ingots))
	}
	records := make([][]byte, len(ingots))
	for i, g := range ingots {
		if g.Refinery != refinery || g.Seq != ingots[0].Seq+uint64(i) {
			return Pour{}, nil, fmt.Errorf("ingot %s/%d does not belong at place %d of the pour", g.Refinery, g.Seq, i)
		}
		records[i] = g.Encode()
	}
	return Pour{
		Origin: origin, Refinery: refinery, Seq: mark.Seq + 1, Prev: mark.Digest,
		First: ingots[0].Seq, Count: uint64(len(ingots)), Root: merkle.Root(recordLeaves(records)),
		Sealed: max(nowMS, mark.Sealed, coversMS),
	}, records, nil
}

// FitPour returns how many of the ingots, from the first on, go into one pour and
// one message.
func FitPour(ingots []Ingot) int {
	size := batchOverhead
	for i, g := range ingots {
		size += 120 + len(g.Contract) + 60*len(g.Spans)
		if i == MaxPourIngots || i > 0 && size > MaxMessage {
			return i
		}
	}
	return len(ingots)
}

func recordLeaves(records [][]byte) []merkle.Hash {
	leaves := make([]merkle.Hash, len(records))
	for i, r := range records {
		leaves[i] = merkle.LeafHash(r)
	}
	return leaves
}

// RefineryState is where a refinery's chain of pours and ingots stands.
type RefineryState struct {
	ProducerState
	NextIngot uint64 // seq of the next ingot; 0 counts as 1
}

// PouredIngot is an ingot that a checked pour delivered, with what a certificate
// needs of it.
type PouredIngot struct {
	Refinery string
	Seq      uint64
	Contract string
	Leaf     merkle.Hash // RFC 6962 leaf hash of its record
	First    uint64      // smallest start of its reports' readings, Unix ms
	Last     uint64      // largest end
	Sealed   uint64      // sealed_ms of its pour
}

// Poured is a checked pour. The ingots' roots are not checked yet: see CheckRoots.
type Poured struct {
	Pour    Pour
	Digest  merkle.Hash
	Ingots  []Ingot
	Records [][]byte
	Entries []PouredIngot // one for each ingot
}

// PourBook checks the pours of every refinery: signature, chain, records, the
// contract's refinery, time order, and that their spans use accepted ore once, in
// order and without gaps. It holds state as Assay does and is not safe for
// concurrent use.
type PourBook struct {
	registry   *Registry
	spending   *Spending
	refineries map[string]RefineryState
}

// NewPourBook returns a book over an account of accepted ore.
func NewPourBook(registry *Registry, spending *Spending) *PourBook {
	return &PourBook{registry: registry, spending: spending, refineries: map[string]RefineryState{}}
}

// Restore puts back where refineries stand.
func (b *PourBook) Restore(states ...RefineryState) {
	for _, s := range states {
		b.refineries[s.Producer] = s
	}
}

// Refinery returns where a refinery stands.
func (b *PourBook) Refinery(id string) RefineryState {
	s := b.refineries[id]
	s.Producer, s.NextIngot = id, max(s.NextIngot, 1)
	return s
}

// Open checks a pour and its records without the account of ore. nowMS is the
// consumer's clock, 0 for none.
func (b *PourBook) Open(m PourMessage, nowMS uint64) (Poured, error) {
	p, f := b.open(m.Pour, nowMS)
	if f != nil {
		return Poured{}, f
	}
	return openRecords(b.registry, p, m.Pour.Digest(), m.Records)
}

// open checks a pour by itself: its form, place in the chain, time and signature.
func (b *PourBook) open(env seal.Envelope, nowMS uint64) (Pour, *Fault) {
	digest := env.Digest()
	if env.PayloadType != TypePour {
		return Pour{}, fault("pour", digest, "payload_type", "%q is not that of a pour", clip(env.PayloadType))
	}
	p, err := DecodePour(env.Payload)
	if err != nil {
		return Pour{}, fault("pour", digest, "form", "%v", err)
	}
	name := pourName(p)
	mark := b.Refinery(p.Refinery)
	switch {
	case p.Origin != b.registry.Origin():
		return Pour{}, fault(name, digest, "origin", "it is for %q, this is %q", p.Origin, b.registry.Origin())
	case p.Seq != mark.Seq+1 || p.Prev != mark.Digest:
		return Pour{}, fault(name, digest, "pour_link", "it follows %s, the chain is at seq %d, %s", p.Prev, mark.Seq, mark.Digest)
	case p.First != mark.NextIngot:
		return Pour{}, fault(name, digest, "ingot_seq", "its first ingot is %d, the next is %d", p.First, mark.NextIngot)
	case p.Sealed < mark.Sealed:
		return Pour{}, fault(name, digest, "time_order", "sealed at %d, before the pour before it at %d", p.Sealed, mark.Sealed)
	case nowMS != 0 && p.Sealed > nowMS+SkewMS:
		return Pour{}, fault(name, digest, "future", "sealed at %d, it is %d here", p.Sealed, nowMS)
	}
	if f := b.registry.now().signedBy(name, env, seal.RoleRefinery, p.Refinery, p.Sealed); f != nil {
		return Pour{}, f
	}
	return p, nil
}

func pourName(p Pour) string { return fmt.Sprintf("pour %s/%d", p.Refinery, p.Seq) }

// openRecords decodes the records of a pour and checks them against it and
// against the contracts.
func openRecords(r *Registry, p Pour, digest merkle.Hash, records [][]byte) (Poured, error) {
	if uint64(len(records)) != p.Count {
		return Poured{}, fault(pourName(p), digest, "ingot_count", "%d records, it says %d", len(records), p.Count)
	}
	leaves := recordLeaves(records)
	if root := merkle.Root(leaves); root != p.Root {
		return Poured{}, fault(pourName(p), digest, "pour_root", "its records have root %s, it says %s", root, p.Root)
	}
	out := Poured{Pour: p, Digest: digest, Records: records, Ingots: make([]Ingot, len(records)), Entries: make([]PouredIngot, len(records))}
	for i, record := range records {
		g, err := DecodeIngot(record)
		if err != nil {
			return Poured{}, fault(fmt.Sprintf("ingot %d of %s", i, pourName(p)), digest, "form", "%v", err)
		}
		if f := checkIngot(r, p, digest, g, p.First+uint64(i)); f != nil {
			return Poured{}, f
		}
		out.Ingots[i] = g
		out.Entries[i] = PouredIngot{Refinery: g.Refinery, Seq: g.Seq, Contract: g.Contract, Leaf: leaves[i], Sealed: p.Sealed}
	}
	return out, nil
}

func ingotName(g Ingot) string { return fmt.Sprintf("ingot %s/%d", g.Refinery, g.Seq) }

func checkIngot(r *Registry, p Pour, digest merkle.Hash, g Ingot, seq uint64) *Fault {
	c, _, known := r.Contract(g.Contract)
	switch {
	case g.Refinery != p.Refinery || g.Seq != seq:
		return fault(ingotName(g), digest, "ingot_seq", "ingot %s/%d was expected there", p.Refinery, seq)
	case g.Ore() != r.profile.OrePerIngot:
		return fault(ingotName(g), digest, "ingot_ore", "it holds %d ore, must hold %d", g.Ore(), r.profile.OrePerIngot)
	case !known:
		return fault(ingotName(g), digest, "contract", "contract %s is not logged", g.Contract)
	case c.Refinery != g.Refinery:
		return fault(ingotName(g), digest, "contract", "contract %s has refinery %q", g.Contract, c.Refinery)
	}
	return nil
}

// Enter checks a pour wholly but for the roots of its ingots, spends its ore and
// moves the refinery's mark. A pour with a fault changes nothing. Reports that it
// covers must have been added to the Spending before; rule span_unknown may mean
// that their batch has not arrived yet.
func (b *PourBook) Enter(m PourMessage, nowMS uint64) (Poured, error) {
	p, err := b.Open(m, nowMS)
	if err != nil {
		return Poured{}, err
	}
	if err := b.enter(&p); err != nil {
		return Poured{}, err
	}
	return p, nil
}

func (b *PourBook) enter(p *Poured) error {
	draft := b.spending.copyOf(p.Ingots)
	for i, g := range p.Ingots {
		var t times
		for _, span := range g.Spans {
			of, f := draft.spend(g.Contract, span)
			if f != nil {
				return fault(ingotName(g), p.Digest, f.rule, "%s", f.detail)
			}
			t.include(of)
		}
		if t.sealed > p.Pour.Sealed {
			return fault(ingotName(g), p.Digest, "time_order", "a batch of it was sealed at %d, after its pour at %d", t.sealed, p.Pour.Sealed)
		}
		p.Entries[i].First, p.Entries[i].Last = t.first, t.last
	}
	b.spending.take(draft)
	b.refineries[p.Pour.Refinery] = RefineryState{
		ProducerState: ProducerState{Producer: p.Pour.Refinery, Seq: p.Pour.Seq, Digest: p.Digest, Sealed: p.Pour.Sealed},
		NextIngot:     p.Pour.First + p.Pour.Count,
	}
	return nil
}

// CheckRoots derives the roots of the pour's ingots again, or of those at the
// given places, with up to workers goroutines (0: one per core). The *Fault names
// the first that differs.
func (p Poured) CheckRoots(workers int, places ...int) error {
	ingots := p.Ingots
	if len(places) > 0 {
		ingots = nil
		for _, i := range places {
			ingots = append(ingots, p.Ingots[i])
		}
	}
	if f := checkRoots(ingots, workers, func(int) merkle.Hash { return p.Digest }); f != nil {
		return f
	}
	return nil
}

// checkRoots compares the roots of ingots with those derived from their spans.
func checkRoots(ingots []Ingot, workers int, pour func(i int) merkle.Hash) *Fault {
	derived := slices.Clone(ingots)
	HashIngots(derived, workers)
	for i, g := range ingots {
		if g.Root != derived[i].Root {
			return fault(ingotName(g), pour(i), "ingot_root", "its ore has root %s, it says %s", derived[i].Root, g.Root)
		}
	}
	return nil
}

// NewCertificate makes the payload of the next certificate of ingots in any
// order, and returns the ingots in the order of its tree. Issued is nowMS or, if
// later, the latest pour. mark's Seq and Digest are those of the certificate
// before (zero value at first).
func NewCertificate(p torq.Profile, origin, mint string, mark Link, ingots []PouredIngot, nowMS uint64) (Certificate, []PouredIngot, error) {
	if uint64(len(ingots)) != p.IngotsPerCertificate {
		return Certificate{}, nil, fmt.Errorf("a certificate has %d ingots, not %d", p.IngotsPerCertificate, len(ingots))
	}
	sorted := SortIngots(ingots)
	c := Certificate{
		Origin: origin, Mint: mint, Serial: mark.Seq + 1, Prev: mark.Digest, Root: ingotsRoot(sorted),
		Work: sumWork(p, sorted), First: sorted[0].First, Issued: nowMS,
	}
	for _, g := range sorted {
		c.First, c.Last, c.Issued = min(c.First, g.First), max(c.Last, g.Last), max(c.Issued, g.Sealed)
	}
	return c, sorted, nil
}

// SortIngots returns ingots in the order of a certificate's tree, (refinery id,
// ingot seq).
func SortIngots(ingots []PouredIngot) []PouredIngot {
	sorted := slices.Clone(ingots)
	slices.SortFunc(sorted, func(a, b PouredIngot) int { return compareIngots(a.Refinery, a.Seq, b.Refinery, b.Seq) })
	return sorted
}

func ingotsRoot(ingots []PouredIngot) merkle.Hash {
	leaves := make([]merkle.Hash, len(ingots))
	for i, g := range ingots {
		leaves[i] = g.Leaf
	}
	return merkle.Root(leaves)
}

func sumWork(p torq.Profile, ingots []PouredIngot) []Work {
	ore := map[string]uint64{}
	for _, g := range ingots {
		ore[g.Contract] += p.OrePerIngot
	}
	work := make([]Work, 0, len(ore))
	for contract, n := range ore {
		work = append(work, Work{Contract: contract, Ore: n})
	}
	slices.SortFunc(work, func(a, b Work) int { return compareIngots(a.Contract, 0, b.Contract, 0) })
	return work
}

// NewRun makes the payload of the mint's next run over certificates in serial
// order. Sealed is nowMS or, if later, the run before or the last issue.
func NewRun(origin, mint string, mark ProducerState, certificates []Certificate, nowMS uint64) (Run, error) {
	if len(certificates) == 0 || len(certificates) > MaxRun {
		return Run{}, fmt.Errorf("a run has 1 to %d certificates, not %d", MaxRun, len(certificates))
	}
	r := Run{
		Origin: origin, Mint: mint, Seq: mark.Seq + 1, Prev: mark.Digest,
		First: certificates[0].Serial, Count: uint64(len(certificates)), Sealed: max(nowMS, mark.Sealed),
	}
	digests := make([]merkle.Hash, len(certificates))
	for i, c := range certificates {
		if c.Mint != mint || c.Serial != r.First+uint64(i) {
			return Run{}, fmt.Errorf("certificate %d of mint %q does not belong at place %d of the run", c.Serial, c.Mint, i)
		}
		digests[i] = c.Digest()
		r.Sealed = max(r.Sealed, c.Issued)
	}
	r.Root = merkle.Root(RunLeaves(digests))
	return r, nil
}

// RunLeaves returns the leaf hashes of a run's tree: its leaf data are the
// certificates' digests.
func RunLeaves(certificates []merkle.Hash) []merkle.Hash {
	leaves := make([]merkle.Hash, len(certificates))
	for i, d := range certificates {
		leaves[i] = merkle.LeafHash(d[:])
	}
	return leaves
}
