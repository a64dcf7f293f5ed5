package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// logged is what the log says, as far as the books hang on it.
type logged struct {
	before   uint64 // entries that were logged before the books were read
	registry *proof.Registry

	commands      []due             // what the vault has to post, in the order of the log
	learnt        []merkle.Hash     // LeafHash of the envelopes that stations learn, in that order
	contracts     map[uint64]uint64 // entry by number
	refineries    map[uint64]string // of the contracts
	distributions map[uint64]word[proof.Distribution]
	heads         map[uint64]word[proof.Head]
	members       members
	kept          map[uint64][]KeptReceipt
	bonds         []bondWord
	statements    map[uint64]*stated
	secret        []byte // of the vault, for statements
	leaves        uint64 // stored blocks of the newest statement
	newest        uint64 // its posting
	lastWord      uint64 // highest posting that a distribution tells of
	lastHead      uint64

	digests     []merkle.Hash       // of certificates, by serial
	poured      map[uint64]uint64   // ingots by contract; counted when something depends on it
	sealed      map[string][]uint64 // when pours were sealed, by refinery; counted with them
	prunedPours uint64              // whose ingots are not counted
	certificate proof.Link          // the last one
	pending     []proof.Certificate
	run         proof.Link
	serial      uint64 // last one in a run
}

// due is a posting that an entry of the log calls for.
type due struct {
	entry   uint64
	what    string // "certificate 3"
	command []byte
}

// word is a signed statement of the vault about a posting.
type word[T any] struct {
	entry uint64
	says  T
}

// checkpointSize reads how many entries are published, unchecked.
func checkpointSize(dir string) (uint64, error) {
	_, c, err := readCheckpoint(dir)
	return c.Size, err
}

func readCheckpoint(dir string) (signed []byte, c checkpoint.Checkpoint, err error) {
	if signed, err = archive.OpenLog(os.DirFS(filepath.Join(dir, "log"))).Checkpoint(); err != nil {
		return nil, c, fmt.Errorf("the log's checkpoint: %w", err)
	}
	text, _, _ := strings.Cut(string(signed), "\n\n")
	if c, err = checkpoint.Parse(text + "\n"); err != nil {
		return nil, c, fault("log/"+archive.CheckpointFile, "form", "%v", err)
	}
	return signed, c, nil
}

// readLog takes in every entry under the checkpoint and checks the checkpoint.
func (a *auditor) readLog(ctx context.Context) (err error) {
	signed, head, err := readCheckpoint(a.dir)
	if err != nil {
		return err
	}
	packs, err := archive.OpenReader(filepath.Join(a.dir, "packs"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, packs.Close()) }()
	l := &a.log
	l.registry = proof.NewRegistry(a.opts.Profile, a.opts.Roots)
	l.refineries = map[uint64]string{}
	l.contracts, l.distributions, l.heads = map[uint64]uint64{}, map[uint64]word[proof.Distribution]{}, map[uint64]word[proof.Head]{}
	l.members = members{enrolled: map[string][]uint64{}, objections: map[merkle.Hash]bool{}}
	l.statements = map[uint64]*stated{}
	var tree frontier
	for e, err := range archive.OpenLog(os.DirFS(filepath.Join(a.dir, "log"))).Entries(0, head.Size) {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			tree.push(merkle.LeafHash(e.Bytes()))
			err = a.enter(packs, e)
		}
		if err != nil {
			return err
		}
		a.opts.progress("log", e.Index+1, head.Size)
	}
	a.sum.Entries = head.Size
	return a.checkLog(signed, head, tree.root())
}

// checkLog checks that the entries read are those that the log's keys signed.
func (a *auditor) checkLog(signed []byte, head checkpoint.Checkpoint, root merkle.Hash) error {
	const file = "log/" + archive.CheckpointFile
	charter := a.log.registry.Charter()
	if charter == nil {
		return fault("log", "charter", "the log holds no charter")
	}
	if a.opts.Origin != "" && charter.Name != a.opts.Origin {
		return fault("reserve.json", "origin", "the reserve is %s, the charter that of %s", a.opts.Origin, charter.Name)
	}
	if _, err := proof.OpenCheckpoint(charter, signed, charter.IssuedMS); err != nil {
		return fault(file, "signature", "%v", err)
	}
	if head.Origin != charter.Name {
		return fault(file, "origin", "is of %s, the charter that of %s", head.Origin, charter.Name)
	}
	if head.Root != root {
		return fault("log/tile/entries", "root", "the entries have root %s, the checkpoint says %s", root, head.Root)
	}
	a.sum.Origin, a.sum.Pinned = charter.Name, a.log.registry.Pinned()
	if len(a.opts.Roots) > 0 && !a.sum.Pinned {
		return fault("charter", "root", "no version is signed by the pinned roots alone")
	}
	return nil
}

// enter takes in one entry.
func (a *auditor) enter(packs *archive.Reader, e archive.Entry) error {
	switch e.PayloadType {
	case proof.TypeCertificate:
		payload, err := packs.Certificate(e.Digest)
		if err != nil {
			return missing(e, err)
		}
		return a.certificate(e, payload)
	case proof.TypeRun, proof.TypeDistribution, proof.TypeHead, proof.TypeBond, proof.TypeSolvency:
	default:
		if !proof.Concerns(e.PayloadType) {
			return nil // package archive's business
		}
	}
	env, err := packs.Envelope(archive.ClassOf(e.PayloadType), e.Digest)
	if err != nil {
		return missing(e, err)
	}
	switch e.PayloadType {
	case proof.TypeRun:
		return a.sealedRun(e, env)
	case proof.TypeDistribution, proof.TypeHead:
		return a.word(e, env)
	case proof.TypeBond:
		return a.bondLogged(e, env)
	case proof.TypeSolvency:
		return a.statementLogged(e, env)
	case proof.TypeEnrolment:
		if err := a.checkEnrolment(e, env); err != nil {
			return err
		}
	}
	return a.document(e, env)
}

func missing(e archive.Entry, err error) error {
	if !archive.IsCode(err, archive.CodeNotFound) {
		return err
	}
	return &proof.Fault{Artefact: proof.ShortType(e.PayloadType), Digest: e.Digest, Rule: "missing_artefact",
		Detail: fmt.Sprintf("log entry %d names it", e.Index), Err: err}
}

// document learns who may do what, and what the vault has to post of it.
func (a *auditor) document(e archive.Entry, env seal.Envelope) error {
	l := &a.log
	if err := l.registry.Add(env); err != nil {
		return err
	}
	raw, err := env.EncodeCBOR()
	if err != nil {
		return err
	}
	l.learnt = append(l.learnt, merkle.LeafHash(raw))
	switch e.PayloadType {
	case proof.TypePolicy:
		return l.call(e, "policy of log entry "+fmt.Sprint(e.Index), &ledger.Adopt{Document: env.Payload})
	case proof.TypeEnrolment:
		return l.enrolment(e, env)
	case proof.TypeContract:
		c, err := proof.DecodeContract(env.Payload)
		if err != nil {
			return err
		}
		_, number, err := proof.ParseContractID(c.ID)
		l.contracts[number], l.refineries[number] = e.Index, c.Refinery
		return err
	}
	return nil
}

// enrolment calls for a wallet, and for the status of its owner.
func (l *logged) enrolment(e archive.Entry, env seal.Envelope) error {
	n, err := seal.DecodeEnrolment(env.Payload)
	if err != nil || n.Role() == seal.RoleRobot {
		return err
	}
	account, status := n.Role()+":"+n.ID, ""
	if n.Member != nil {
		status = n.Member.Status
	} else {
		status = n.Org.Status
	}
	what := fmt.Sprintf("enrolment of %s, version %d", account, n.Version)
	if n.Version == 1 {
		if err := l.call(e, what, &ledger.Enrol{Account: account, Digest: e.Digest}); err != nil {
			return err
		}
	}
	if n.Version > 1 || status != ledger.StatusActive {
		return l.call(e, what, &ledger.SetStatus{Account: account, Status: status, Version: n.Version})
	}
	return nil
}

func (l *logged) call(e archive.Entry, what string, c ledger.Command) error {
	encoded, err := ledger.EncodeCommand(c)
	l.commands = append(l.commands, due{e.Index, what, encoded})
	return err
}

// certificate takes in a certificate; it counts with its run.
func (a *auditor) certificate(e archive.Entry, payload []byte) error {
	l := &a.log
	c, err := proof.DecodeCertificate(payload)
	name := fmt.Sprintf("certificate %d", l.certificate.Seq+1)
	if err == nil {
		err = c.CheckWork(a.opts.Profile)
	}
	bad := func(rule, format string, args ...any) error {
		return &proof.Fault{Artefact: name, Digest: e.Digest, Rule: rule, Detail: fmt.Sprintf(format, args...)}
	}
	switch {
	case err != nil:
		return bad("form", "%v", err)
	case c.Origin != l.registry.Origin():
		return bad("origin", "is of %s", c.Origin)
	case c.Serial != l.certificate.Seq+1:
		return bad("serial", "log entry %d holds serial %d", e.Index, c.Serial)
	case c.Prev != l.certificate.Digest:
		return bad("link", "names %s as the one before, that is %s", c.Prev, l.certificate.Digest)
	}
	l.certificate = proof.Link{Seq: c.Serial, Digest: e.Digest}
	l.digests = append(l.digests, e.Digest)
	l.pending = append(l.pending, c)
	return nil
}

// sealedRun checks the mint's signature over certificates, and calls for their
// money.
func (a *auditor) sealedRun(e archive.Entry, env seal.Envelope) error {
	l := &a.log
	name := fmt.Sprintf("run %d", l.run.Seq+1)
	bad := func(rule, format string, args ...any) error {
		return &proof.Fault{Artefact: name, Digest: e.Digest, Rule: rule, Detail: fmt.Sprintf(format, args...)}
	}
	r, err := proof.DecodeRun(env.Payload)
	if err != nil {
		return bad("form", "%v", err)
	}
	if err := l.registry.VerifySigned(env, seal.RoleMint, r.Mint, r.Sealed); err != nil {
		return err
	}
	if r.Origin != l.registry.Origin() || r.Seq != l.run.Seq+1 || r.Prev != l.run.Digest {
		return bad("link", "is run %d of %s after %s", r.Seq, r.Origin, r.Prev)
	}
	if r.First != l.serial+1 || r.Count > uint64(len(l.pending)) {
		return bad("count", "seals %d certificates from %d on; logged are %d from %d on", r.Count, r.First, len(l.pending), l.serial+1)
	}
	digests := make([]merkle.Hash, r.Count)
	for i := range digests {
		digests[i] = l.pending[i].Digest()
	}
	if root := merkle.Root(proof.RunLeaves(digests)); root != r.Root {
		return bad("root", "has root %s, its certificates make it %s", r.Root, root)
	}
	for i, c := range l.pending[:r.Count] {
		if c.Mint != r.Mint {
			return bad("mint", "certificate %d is of mint %s", c.Serial, c.Mint)
		}
		if err := l.minting(e, c, digests[i]); err != nil {
			return err
		}
	}
	l.pending, l.serial = slices.Delete(l.pending, 0, int(r.Count)), l.serial+r.Count
	l.run = proof.Link{Seq: r.Seq, Digest: e.Digest}
	return nil
}

func (l *logged) minting(e archive.Entry, c proof.Certificate, digest merkle.Hash) error {
	m := &ledger.Mint{Serial: c.Serial, Digest: digest}
	for _, w := range c.Work {
		_, number, err := proof.ParseContractID(w.Contract)
		if err != nil {
			return err
		}
		m.Work = append(m.Work, ledger.Work{Contract: number, Ore: w.Ore})
	}
	slices.SortFunc(m.Work, func(a, b ledger.Work) int { return cmp.Compare(a.Contract, b.Contract) })
	return l.call(e, fmt.Sprintf("certificate %d", c.Serial), m)
}

// word takes in a distribution or head.
func (a *auditor) word(e archive.Entry, env seal.Envelope) error {
	l := &a.log
	var issued, seq uint64
	var origin string
	twice := false
	switch e.PayloadType {
	case proof.TypeDistribution:
		d, err := proof.DecodeDistribution(env.Payload)
		if err != nil {
			return &proof.Fault{Artefact: "distribution", Digest: e.Digest, Rule: "form", Detail: err.Error()}
		}
		issued, seq, origin = d.Issued, d.Seq, d.Origin
		_, twice = l.distributions[seq]
		l.distributions[seq], l.lastWord = word[proof.Distribution]{e.Index, d}, max(l.lastWord, seq)
	default:
		h, err := proof.DecodeHead(env.Payload)
		if err != nil {
			return &proof.Fault{Artefact: "head", Digest: e.Digest, Rule: "form", Detail: err.Error()}
		}
		issued, seq, origin = h.Issued, h.Seq, h.Origin
		_, twice = l.heads[seq]
		l.heads[seq], l.lastHead = word[proof.Head]{e.Index, h}, max(l.lastHead, seq)
	}
	name := fmt.Sprintf("%s of posting %d", proof.ShortType(e.PayloadType), seq)
	if origin != l.registry.Origin() {
		return &proof.Fault{Artefact: name, Digest: e.Digest, Rule: "origin", Detail: "is of " + origin}
	}
	if twice {
		return &proof.Fault{Artefact: name, Digest: e.Digest, Rule: "repeated", Detail: fmt.Sprintf("log entry %d is the second one", e.Index)}
	}
	return l.registry.VerifySigned(env, seal.RoleVault, "", issued)
}

// frontier is an RFC 6962 tree that only grows: the roots of its full subtrees,
// the largest first.
type frontier struct {
	size  uint64
	roots []merkle.Hash
}

func (f *frontier) push(leaf merkle.Hash) {
	f.roots = append(f.roots, leaf)
	for n := f.size; n&1 == 1; n >>= 1 {
		last := len(f.roots) - 1
		f.roots[last-1] = merkle.NodeHash(f.roots[last-1], f.roots[last])
		f.roots = f.roots[:last]
	}
	f.size++
}

func (f *frontier) root() merkle.Hash {
	if f.size == 0 {
		return merkle.EmptyRoot()
	}
	root := f.roots[len(f.roots)-1]
	for _, left := range slices.Backward(f.roots[:len(f.roots)-1]) {
		root = merkle.NodeHash(left, root)
	}
	return root
}
