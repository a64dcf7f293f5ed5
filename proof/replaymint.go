package proof

import (
	"fmt"
	"runtime"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/seal"
)

func defaultWorkers() int { return runtime.GOMAXPROCS(0) }

// mintBook follows the mint through the log: certificates take ingots first in,
// first out, and runs sign certificates in order.
type mintBook struct {
	registry *Registry
	name     string // of the one mint, from its first certificate on
	last     Link   // certificate
	runMark  ProducerState
	queue    []PouredIngot // in the order in which their pours were logged
	waiting  []waitingCertificate
	signed   uint64
	runs     uint64
}

type waitingCertificate struct {
	digest merkle.Hash
	serial uint64
	issued uint64
}

func (b *mintBook) serial() uint64 { return b.last.Seq }

func (b *mintBook) certificate(env seal.Envelope, digest merkle.Hash) error {
	c, f := b.next(env, digest)
	if f != nil {
		return f
	}
	n := b.registry.profile.IngotsPerCertificate
	want, _, err := NewCertificate(b.registry.profile, c.Origin, c.Mint, b.last, b.queue[:n], 0)
	if err != nil {
		return fault(certificateName(c), digest, "certificate_ingots", "%v", err)
	}
	if f := compareCertificate(certificateName(c), digest, c, want); f != nil {
		return f
	}
	b.take(c, digest)
	return nil
}

func certificateName(c Certificate) string { return fmt.Sprintf("certificate %d", c.Serial) }

// next checks that a certificate continues the chain and that ingots wait for it.
func (b *mintBook) next(env seal.Envelope, digest merkle.Hash) (Certificate, *Fault) {
	c, err := DecodeCertificate(env.Payload)
	if err != nil {
		return c, fault("certificate", digest, "form", "%v", err)
	}
	name := certificateName(c)
	switch n := b.registry.profile.IngotsPerCertificate; {
	case len(env.Signatures) != 0:
		return c, fault(name, digest, "signature", "a certificate is signed through its run and carries no signature of its own")
	case c.Origin != b.registry.Origin():
		return c, fault(name, digest, "origin", "it is for %q, this is %q", c.Origin, b.registry.Origin())
	case b.name != "" && c.Mint != b.name:
		return c, fault(name, digest, "mint", "a reserve has one mint, %q, not %q", b.name, c.Mint)
	case c.Serial != b.last.Seq+1 || c.Prev != b.last.Digest:
		return c, fault(name, digest, "certificate_link", "it follows %s, the chain is at serial %d, %s", c.Prev, b.last.Seq, b.last.Digest)
	case uint64(len(b.queue)) < n:
		return c, fault(name, digest, "certificate_ingots", "only %d ingots are poured and not minted, it needs %d", len(b.queue), n)
	}
	return c, nil
}

// take moves the chain on by a certificate that was checked.
func (b *mintBook) take(c Certificate, digest merkle.Hash) {
	b.name, b.last, b.queue = c.Mint, Link{Seq: c.Serial, Digest: digest}, b.queue[b.registry.profile.IngotsPerCertificate:]
	b.waiting = append(b.waiting, waitingCertificate{digest: digest, serial: c.Serial, issued: c.Issued})
}

// compareCertificate checks a certificate against the one that its ingots make;
// want.Issued is the latest of their pours.
func compareCertificate(name string, digest merkle.Hash, c, want Certificate) *Fault {
	switch {
	case c.Root != want.Root:
		return fault(name, digest, "certificate_root", "the next ingots in the order of their pours have root %s, it says %s", want.Root, c.Root)
	case c.First != want.First || c.Last != want.Last:
		return fault(name, digest, "certificate_times", "its readings span [%d, %d), it says [%d, %d)", want.First, want.Last, c.First, c.Last)
	case c.Issued < want.Issued:
		return fault(name, digest, "time_order", "issued at %d, before a pour at %d", c.Issued, want.Issued)
	case len(c.Work) != len(want.Work):
		return fault(name, digest, "certificate_work", "its ore is of %d contracts, it says %d", len(want.Work), len(c.Work))
	}
	for i, w := range want.Work {
		if c.Work[i] != w {
			return fault(name, digest, "certificate_work", "%d ore is of %s, it says %d of %s", w.Ore, w.Contract, c.Work[i].Ore, c.Work[i].Contract)
		}
	}
	return nil
}

func (b *mintBook) run(env seal.Envelope, digest merkle.Hash) error {
	run, err := DecodeRun(env.Payload)
	if err != nil {
		return fault("run", digest, "form", "%v", err)
	}
	name := fmt.Sprintf("run %d", run.Seq)
	switch {
	case run.Origin != b.registry.Origin():
		return fault(name, digest, "origin", "it is for %q, this is %q", run.Origin, b.registry.Origin())
	case b.name != "" && run.Mint != b.name:
		return fault(name, digest, "mint", "a reserve has one mint, %q, not %q", b.name, run.Mint)
	case run.Seq != b.runMark.Seq+1 || run.Prev != b.runMark.Digest:
		return fault(name, digest, "run_link", "it follows %s, the chain is at seq %d, %s", run.Prev, b.runMark.Seq, b.runMark.Digest)
	case uint64(len(b.waiting)) < run.Count || b.waiting[0].serial != run.First:
		return fault(name, digest, "run_certificates", "it signs certificates %d to %d, which are not logged before it, or signed already", run.First, run.First+run.Count-1)
	case run.Sealed < b.runMark.Sealed:
		return fault(name, digest, "time_order", "sealed at %d, before the run before it at %d", run.Sealed, b.runMark.Sealed)
	}
	digests := make([]merkle.Hash, run.Count)
	for i, w := range b.waiting[:run.Count] {
		digests[i] = w.digest
		if w.issued > run.Sealed {
			return fault(name, digest, "time_order", "certificate %d was issued at %d, after the run at %d", w.serial, w.issued, run.Sealed)
		}
	}
	if root := merkle.Root(RunLeaves(digests)); root != run.Root {
		return fault(name, digest, "run_root", "its certificates have root %s, it says %s", root, run.Root)
	}
	if f := b.registry.now().signedBy(name, env, seal.RoleMint, run.Mint, run.Sealed); f != nil {
		return f
	}
	b.runMark = ProducerState{Producer: run.Mint, Seq: run.Seq, Digest: digest, Sealed: run.Sealed}
	b.waiting = b.waiting[run.Count:]
	b.signed += run.Count
	b.runs++
	return nil
}

// postingBook follows what the vault and the mint log about money. The postings
// themselves are the audit's business.
type postingBook struct {
	registry *Registry
	head     Head
	bonds    map[uint64]Bond
}

func (b *postingBook) enter(env seal.Envelope, digest merkle.Hash, serial uint64) error {
	switch env.PayloadType {
	case TypeBond:
		return b.bond(env, digest)
	case TypeDistribution:
		return b.distribution(env, digest, serial)
	case TypeSolvency:
		s, err := DecodeSolvency(env.Payload)
		if err != nil {
			return fault("solvency", digest, "form", "%v", err)
		}
		return b.signed(fmt.Sprintf("solvency at posting %d", s.Seq), env, digest, s.Origin, seal.RoleVault, s.Issued)
	}
	return b.enterHead(env, digest)
}

func (b *postingBook) signed(name string, env seal.Envelope, digest merkle.Hash, origin, role string, at uint64) error {
	if origin != b.registry.Origin() {
		return fault(name, digest, "origin", "it is for %q, this is %q", origin, b.registry.Origin())
	}
	if f := b.registry.now().signedBy(name, env, role, "", at); f != nil {
		return f
	}
	return nil
}

func (b *postingBook) distribution(env seal.Envelope, digest merkle.Hash, serial uint64) error {
	d, err := DecodeDistribution(env.Payload)
	if err != nil {
		return fault("distribution", digest, "form", "%v", err)
	}
	name := fmt.Sprintf("distribution of posting %d", d.Seq)
	if d.Subject > serial {
		return fault(name, digest, "order", "certificate %d is not logged before it", d.Subject)
	}
	return b.signed(name, env, digest, d.Origin, seal.RoleVault, d.Issued)
}

func (b *postingBook) enterHead(env seal.Envelope, digest merkle.Hash) error {
	h, err := DecodeHead(env.Payload)
	if err != nil {
		return fault("head", digest, "form", "%v", err)
	}
	name := fmt.Sprintf("head at posting %d", h.Seq)
	switch {
	case h.Seq < b.head.Seq:
		return fault(name, digest, "head_order", "an earlier head stands at posting %d", b.head.Seq)
	case h.Seq == b.head.Seq && b.head.Issued != 0 && h.Posting != b.head.Posting:
		return fault(name, digest, "head_order", "an earlier head has another hash for this posting: %s", b.head.Posting)
	}
	if err := b.signed(name, env, digest, h.Origin, seal.RoleVault, h.Issued); err != nil {
		return err
	}
	b.head = h
	return nil
}

// bond checks a bond; a serial may come again with the same face, after a
// certificate behind it was recalled or its bearer's key changed.
func (b *postingBook) bond(env seal.Envelope, digest merkle.Hash) error {
	bond, err := DecodeBond(env.Payload)
	if err != nil {
		return fault("bond", digest, "form", "%v", err)
	}
	name := fmt.Sprintf("bond %d", bond.Serial)
	if last, known := b.bonds[bond.Serial]; known && (bond.Face != last.Face || bond.Issued <= last.Issued) {
		return fault(name, digest, "bond_order", "serial %d was issued at %d with face %d", last.Serial, last.Issued, last.Face)
	}
	if err := b.signed(name, env, digest, bond.Origin, seal.RoleMint, bond.Issued); err != nil {
		return err
	}
	b.bonds[bond.Serial] = bond
	return nil
}
