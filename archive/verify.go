package archive

import (
	"context"
	"fmt"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"

	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// VerifyDir verifies a data directory or a mirror of one, offline, with the root
// keys alone:
//
//   - every file in dir/log and dir/packs is accounted for and checked to the
//     byte, the one before the other: checkpoint, bundles and tiles, stale ones
//     too, against the entries; packs and journals against their digests;
//   - proof.Replay derives the reserve again from the entries under the
//     checkpoint and the packs;
//   - the checkpoint is signed by the charter's log keys, with both algorithms,
//     perhaps cosigned by the charter's witnesses, and signed by nobody else.
//
// Of a directory that was pruned everything that is kept is verified, and
// Summary.Pruned counts what is gone: see [Prune].
//
// A directory that a crash left is accepted with what the crash left in it
// listed in Summary.Residue and Summary.Unlogged; with Options.Live so is one
// that is being written. Memory grows by one bit an artefact.
//
// The error is a *proof.Fault when something is wrong, naming the artefact or
// the file, the rule and, where it can be told, the byte range. Any other error
// means that it could not be checked.
func VerifyDir(ctx context.Context, dir string, opts Options) (Summary, error) {
	v := verifier{opts: opts, packsDir: filepath.Join(dir, "packs"), logDir: filepath.Join(dir, "log")}
	err := v.run(ctx)
	if v.source != nil {
		v.source.close()
	}
	return v.sum, asFault(err)
}

type verifier struct {
	opts     Options
	packsDir string
	logDir   string
	sum      Summary
	log      logCheck
	source   *source
}

func (v *verifier) run(ctx context.Context) error {
	// Where the work ends is fixed before the checkpoint is read: what judged
	// the batches up to there is then in the log.
	reader, err := OpenReader(v.packsDir)
	if err != nil {
		return err
	}
	if v.source, err = newSource(reader); err != nil {
		return err
	}
	v.opts.meter = &meter{report: v.opts.Progress}
	v.opts.meter.begin("log", bytesIn(v.logDir))
	v.log = logCheck{dir: v.logDir, opts: v.opts, sum: &v.sum}
	if err := v.log.run(ctx); err != nil {
		return err
	}
	v.opts.meter.begin("packs", bytesIn(v.packsDir))
	packs := packCheck{dir: v.packsDir, opts: v.opts, sum: &v.sum}
	if err := packs.run(ctx); err != nil {
		return err
	}
	check := v.replay
	if packs.pruned != nil {
		check = func(ctx context.Context) (*seal.Charter, error) { return v.retained(ctx, packs.pruned) }
	}
	charter, err := check(ctx)
	if err != nil {
		return v.locate(err)
	}
	if err := v.log.byCharter(charter); err != nil {
		return err
	}
	if err := v.beyond(); err != nil {
		return err
	}
	return v.source.unlogged(&v.sum)
}

// replay feeds the entries under the checkpoint to proof.Replay.
func (v *verifier) replay(ctx context.Context) (*seal.Charter, error) {
	v.opts.meter.begin("replay", v.sum.Size)
	r := proof.NewReplay(v.opts.Profile, v.opts.Roots, v.source, v.opts.workers())
	var tree frontier
	for e, err := range OpenLog(v.log.files).Entries(0, v.sum.Size) {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			tree.push(merkle.LeafHash(e.Bytes()))
			err = missing(e, r.Entry(e.PayloadType, e.Digest))
		}
		if err != nil {
			return nil, err
		}
		v.opts.meter.add(1)
	}
	if tree.root() != v.sum.Root {
		return nil, &Error{Code: CodeCorrupt, File: "log/tile/entries", Detail: "the entries changed while they were read"}
	}
	covered := r.Summary().Batches
	sum, err := r.Finish()
	if err != nil {
		return nil, err
	}
	v.sum.Replay = sum
	v.sum.Uncovered = sum.Batches - covered
	return r.Registry().Charter(), nil
}

// missing names the entry whose artefact is not there.
func missing(e Entry, err error) error {
	if !IsCode(err, CodeNotFound) {
		return err
	}
	return &proof.Fault{Artefact: proof.ShortType(e.PayloadType), Digest: e.Digest, Rule: "missing_artefact",
		Detail: fmt.Sprintf("log entry %d names it: %v", e.Index, err)}
}

// beyond checks that what is in the log beyond the checkpoint is in the packs.
func (v *verifier) beyond() error {
	for e, err := range OpenLog(v.log.files).Entries(v.sum.Size, v.sum.Size+v.sum.Unpublished) {
		if IsCode(err, CodeMissing) && v.opts.Live {
			return nil
		}
		if err == nil {
			_, err = v.source.Envelope(e.PayloadType, e.Digest)
			err = missing(e, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// locate adds to a fault where its artefact lies.
func (v *verifier) locate(err error) error {
	f := proof.AsFault(err)
	if f == nil || f.Digest == (merkle.Hash{}) {
		return err
	}
	where := v.source.r.where(f.Digest)
	if where == "" {
		return err
	}
	found := *f
	found.Detail += " [" + where + "]"
	return &found
}

// byCharter checks the checkpoint's signatures: by the charter's log keys, with
// every algorithm that the role needs, perhaps by its witnesses, and nobody
// else's.
func (c *logCheck) byCharter(charter *seal.Charter) error {
	var all []note.Verifier
	algs := map[uint32]string{}
	for _, k := range charter.KeysOf(seal.RoleLog, charter.Name) {
		if k.NotAfterMS != nil && *k.NotAfterMS < charter.IssuedMS {
			continue
		}
		ver, err := checkpoint.NewVerifier(c.cp.Origin, k.Alg, k.Public)
		if err != nil {
			return err
		}
		all, algs[ver.KeyHash()] = append(all, ver), k.Alg
	}
	witnesses, err := checkpoint.WitnessVerifiers(charter.KeysOf(seal.RoleWitness))
	if err != nil {
		return err
	}
	all = append(all, witnesses...)
	if charter.Name != c.cp.Origin {
		return &Error{Code: "origin", File: "log/" + CheckpointFile, Offset: 0, Length: int64(len(c.cp.Origin)),
			Detail: fmt.Sprintf("checkpoint of %q, the charter is that of %q", c.cp.Origin, charter.Name)}
	}
	n, err := note.Open(c.signed, note.VerifierList(all...))
	if err != nil {
		return &Error{Code: "signature", File: "log/" + CheckpointFile, Length: int64(len(c.signed)), Detail: "checkpoint", Err: err}
	}
	var used []note.Verifier
	by := map[string]bool{}
	for _, s := range n.Sigs {
		if s.Name == c.cp.Origin {
			by[algs[s.Hash]] = true
		}
		for _, ver := range all {
			if ver.Name() == s.Name && ver.KeyHash() == s.Hash {
				used = append(used, ver)
			}
		}
	}
	for _, alg := range charter.Required(seal.RoleLog) {
		if !by[alg] {
			return &Error{Code: "signature", File: "log/" + CheckpointFile, Length: int64(len(c.signed)), Detail: "checkpoint is not signed with " + alg}
		}
	}
	return c.signatures(used)
}
