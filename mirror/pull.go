package mirror

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/mod/sumdb/tlog"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// Pull brings a mirror to the state of the reserve at the address: see the
// package's comment. It may be called again after any error, and goes on where it
// stopped. The error is an *Error, or one of the disk or of ctx.
func Pull(ctx context.Context, o Options) (Result, error) {
	o, err := o.withDefaults()
	if err != nil {
		return Result{}, err
	}
	d, err := openDir(o.Dir)
	if err != nil {
		return Result{}, err
	}
	p := &pull{options: o, dir: d, remote: newRemote(o)}
	if err = p.run(ctx); err != nil {
		return p.result(), errors.Join(err, d.closeEmpty())
	}
	return p.result(), d.close()
}

// pull is one call of Pull.
type pull struct {
	options Options
	dir     *mirrorDir
	remote  *remote
	classes map[archive.Class]*classPull

	kept *head // the mirror's own checkpoint, nil when there is none
	seen *head // the latest checkpoint that was found good, nil when there is none
	now  head  // the one that this pull brings

	chain   *seal.CharterChain
	counted map[merkle.Hash]bool // charters in the chain

	ownPruned, theirPruned *archive.Pruned
	adoptPruned            atomic.Bool

	packs    atomic.Int64
	progress sync.Mutex
}

func (p *pull) result() Result {
	r := Result{Checkpoint: p.now.Checkpoint, Signed: p.now.signed, Origin: p.now.Origin, Size: p.now.Size, Root: p.now.Root,
		Packs: int(p.packs.Load()), Bytes: p.remote.bytes.Load(), Requests: p.remote.requests.Load()}
	if p.kept != nil {
		r.Before = p.kept.Size
	}
	return r
}

func (p *pull) report(stage string, done, total uint64) {
	if p.options.Progress == nil {
		return
	}
	p.progress.Lock()
	defer p.progress.Unlock()
	p.options.Progress(stage, done, total)
}

func (p *pull) run(ctx context.Context) error {
	if err := p.begin(); err != nil {
		return err
	}
	if err := p.readPruned(ctx); err != nil {
		return err
	}
	if err := p.classes[archive.Identity].sync(ctx); err != nil {
		return err
	}
	if err := p.charters(); err != nil {
		return err
	}
	before, err := p.together(ctx)
	if err != nil {
		return err
	}
	if err := p.entries(ctx, p.now); err != nil {
		return err
	}
	if err := p.cutWork(before); err != nil {
		return err
	}
	return p.finish()
}

// begin reads where the mirror stands.
func (p *pull) begin() error {
	p.chain, p.counted = seal.NewCharterChain(p.options.Roots), map[merkle.Hash]bool{}
	p.classes = map[archive.Class]*classPull{}
	for _, c := range archive.Classes() {
		p.classes[c] = &classPull{pull: p, class: c}
	}
	if h, ok, err := readHead(filepath.Join(p.dir.dir, "log", archive.CheckpointFile)); err != nil {
		return err
	} else if ok {
		p.kept, p.seen = &h, &h
	}
	if h, ok, err := readHead(p.dir.own(seenFile)); err != nil {
		return err
	} else if ok && (p.seen == nil || h.Size > p.seen.Size) {
		p.seen = &h
	}
	if p.options.Seen != nil {
		c, err := checkpoint.Parse(checkpoint.NoteText(p.options.Seen))
		if err != nil {
			return &Error{Code: CodeOptions, Detail: "the checkpoint that the log must continue cannot be read", Err: err}
		}
		if p.seen == nil || c.Size > p.seen.Size {
			p.seen = &head{c, p.options.Seen}
		}
	}
	return p.dir.clean()
}

// charters adds to the chain the charters in the mirror and in the stage.
func (p *pull) charters() error {
	own := filepath.Join(p.dir.dir, "packs")
	if len(p.counted) == 0 {
		r, err := archive.OpenReader(own)
		if err != nil {
			return &Error{Code: CodeLocal, Detail: "the mirror's own packs cannot be read", Err: err}
		}
		defer r.Close()
		for rec, err := range r.All(archive.Identity) {
			if err == nil {
				err = p.charter(rec)
			}
			if err != nil {
				return err
			}
		}
	}
	// The stage is read newest first, and a chain is made oldest first.
	fresh := map[uint64]seal.Envelope{}
	for rec, err := range p.classes[archive.Identity].staged() {
		if err != nil {
			return err
		}
		env, err := seal.DecodeEnvelope(rec.Data)
		if err != nil || env.PayloadType != seal.TypeCharter || p.counted[env.Digest()] {
			continue
		}
		c, err := seal.DecodeCharter(env.Payload)
		if err != nil {
			return &Error{Code: CodeSignature, File: p.classes[archive.Identity].file(), Detail: "a charter cannot be read", Err: err}
		}
		fresh[c.Version] = env
	}
	for _, version := range slices.Sorted(maps.Keys(fresh)) {
		rec, err := archive.EnvelopeRecord(fresh[version])
		if err == nil {
			err = p.charter(rec)
		}
		if err != nil {
			return err
		}
	}
	switch {
	case p.chain.Latest() == nil:
		return failf(CodeMissing, p.classes[archive.Identity].file(), "there is no charter in it")
	case len(p.options.Roots) > 0 && !p.chain.Pinned():
		return failf(CodeSignature, p.classes[archive.Identity].file(), "no charter of %q is signed by a threshold of the pinned roots", p.chain.Latest().Name)
	}
	return nil
}

func (p *pull) charter(rec archive.Record) error {
	env, err := seal.DecodeEnvelope(rec.Data)
	if err != nil || env.PayloadType != seal.TypeCharter || p.counted[rec.Key] {
		return err
	}
	if _, err := p.chain.Add(env); err != nil {
		return &Error{Code: CodeSignature, File: p.classes[archive.Identity].file(), Detail: "a charter does not follow", Err: err}
	}
	p.counted[rec.Key] = true
	return nil
}

// checkpoint reads the log's checkpoint and checks that the charter's log signed
// it and that it continues the one that was seen before.
func (p *pull) checkpoint(ctx context.Context) (head, error) {
	signed, err := p.remote.small(ctx, logPath+archive.CheckpointFile, checkpoint.MaxNote)
	if isNotThere(err) {
		return head{}, &Error{Code: CodeMissing, File: logPath + archive.CheckpointFile, Detail: "there is no log at " + p.remote.URL, Err: err}
	}
	if err != nil {
		return head{}, err
	}
	c, err := p.signed(signed)
	if err != nil { // by keys of a charter that was logged a moment ago, perhaps
		if err := p.classes[archive.Identity].sync(ctx); err != nil {
			return head{}, err
		}
		if err := p.charters(); err != nil {
			return head{}, err
		}
		c, err = p.signed(signed)
	}
	if err != nil {
		return head{}, &Error{Code: CodeSignature, File: logPath + archive.CheckpointFile, Detail: "the checkpoint is not the log's", Err: err}
	}
	if p.options.Accept != nil {
		if err := p.options.Accept(signed); err != nil {
			return head{}, &Error{Code: CodePolicy, File: logPath + archive.CheckpointFile, Detail: "the checkpoint is not accepted", Err: err}
		}
	}
	h := head{c, signed}
	if err := p.continues(ctx, h); err != nil {
		return head{}, err
	}
	if p.seen == nil || p.seen.Size != h.Size {
		if err := writeSync(p.dir.own(seenFile), h.signed); err != nil {
			return head{}, err
		}
	}
	p.seen = &h
	return h, nil
}

// signed opens a checkpoint by the newest charter whose log signed it.
func (p *pull) signed(signed []byte) (c checkpoint.Checkpoint, err error) {
	versions := p.chain.Versions()
	for i := len(versions) - 1; i >= 0; i-- {
		var e error
		if c, e = proof.OpenCheckpoint(versions[i].Charter, signed, versions[i].IssuedMS); e == nil {
			return c, nil
		}
		if err == nil {
			err = e // what the newest charter says
		}
	}
	return checkpoint.Checkpoint{}, err
}

// continues checks a checkpoint against the one that was seen before.
func (p *pull) continues(ctx context.Context, h head) error {
	if p.seen == nil {
		return nil
	}
	e := Evidence{Origin: h.Origin, Kept: string(p.seen.signed), Offered: string(h.signed)}
	switch {
	case h.Origin != p.seen.Origin:
		return failf(CodeLocal, logPath+archive.CheckpointFile, "this is log %q, the mirror is of %q", h.Origin, p.seen.Origin)
	case h.Size < p.seen.Size:
		e.Kind = "shrank"
		return p.dir.accuse(e, CodeShrank, fmt.Sprintf("log %q shrank: it had %d entries and has %d", h.Origin, p.seen.Size, h.Size))
	case h.Size == p.seen.Size && h.Root != p.seen.Root:
		e.Kind = "forked"
		return p.dir.accuse(e, CodeForked, fmt.Sprintf("log %q forked: at size %d its root was %s and is %s", h.Origin, h.Size, p.seen.Root, h.Root))
	case h.Size == p.seen.Size || p.seen.Size == 0:
		return nil
	}
	hashes := p.hashes(ctx, h.Checkpoint)
	path, err := checkpoint.ProveConsistency(p.seen.Size, h.Size, hashes)
	if err != nil {
		return tileError(err)
	}
	if checkpoint.VerifyConsistency(p.seen.Checkpoint, h.Checkpoint, path) == nil {
		return nil
	}
	// The tiles agree with the new root, so what follows is what the log says of
	// itself.
	then, err := tlog.TreeHash(int64(p.seen.Size), hashes)
	if err != nil {
		return tileError(err)
	}
	e.Kind, e.RootThen, e.Proof = "forked", (*merkle.Hash)(&then), path
	return p.dir.accuse(e, CodeForked, fmt.Sprintf("log %q forked: at size %d its root was %s, under the checkpoint of %d entries it is %s", h.Origin, p.seen.Size, p.seen.Root, h.Size, merkle.Hash(then)))
}

// rounds and window bound how often the work is read again so that little is
// logged in between.
const (
	rounds = 6
	window = 512
)

// together collects packs and journals that belong to one checkpoint: all that
// its entries name, and work up to a moment at which no later entry was known. It
// returns the checkpoint before which that work was read.
func (p *pull) together(ctx context.Context) (head, error) {
	work := p.classes[archive.Work]
	for range rounds {
		before, err := p.checkpoint(ctx)
		if err != nil {
			return head{}, err
		}
		if err := work.sync(ctx); err != nil {
			return head{}, err
		}
		judged, seq := work.cut, work.header.Seq
		if p.now, err = p.checkpoint(ctx); err != nil {
			return head{}, err
		}
		if p.now.Size-before.Size > window {
			continue // it took long: what came meanwhile comes fast
		}
		if p.now.Size > before.Size {
			if err := work.sync(ctx); err != nil {
				return head{}, err
			}
			if work.header.Seq != seq {
				continue // sealed meanwhile: there is no place to cut it
			}
			work.cut = judged
		}
		for _, c := range []archive.Class{archive.Spine, archive.Ingots, archive.Identity} {
			if err := p.classes[c].sync(ctx); err != nil {
				return head{}, err
			}
		}
		return before, nil
	}
	return head{}, failf(CodeBusy, "", "the reserve logs faster than it can be read")
}

// cutWork moves the end of the work journal to where the pours that were logged
// after before have all their reports.
func (p *pull) cutWork(before head) error {
	work := p.classes[archive.Work]
	if work.cut == work.groups {
		return nil
	}
	pours, err := p.poursSince(before.Size)
	if err != nil || len(pours) == 0 {
		return err
	}
	needed, err := p.reportsOf(pours)
	if err != nil {
		return err
	}
	group := false
	for f, err := range work.frames(work.cut) {
		if err != nil {
			return err
		}
		group = group || needed[f.Key]
		if f.Last && group {
			work.cut, group = f.End, false
		}
	}
	return nil
}

// poursSince returns the pours that were logged from an entry on.
func (p *pull) poursSince(from uint64) (map[merkle.Hash]bool, error) {
	pours := map[merkle.Hash]bool{}
	staged := archive.OpenLog(overlay{p.dir.stage("log"), filepath.Join(p.dir.dir, "log")})
	for e, err := range staged.Entries(from, p.now.Size) {
		if err != nil {
			return nil, err
		}
		if e.PayloadType == proof.TypePour {
			pours[e.Digest] = true
		}
	}
	return pours, nil
}

// reportsOf returns the reports that ingots of the pours are of.
func (p *pull) reportsOf(pours map[merkle.Hash]bool) (map[merkle.Hash]bool, error) {
	needed := map[merkle.Hash]bool{}
	take := func(rec archive.Record) error {
		if !pours[rec.Key] {
			return nil
		}
		delete(pours, rec.Key)
		records, err := archive.DecodeIngots(rec.Data)
		if err != nil {
			return err
		}
		for _, b := range records {
			g, err := proof.DecodeIngot(b)
			if err != nil {
				return &Error{Code: CodeCorrupt, File: p.classes[archive.Ingots].file(), Detail: "an ingot of pour " + rec.Key.String() + " cannot be read", Err: err}
			}
			for _, s := range g.Spans {
				needed[s.Report] = true
			}
		}
		return nil
	}
	for rec, err := range p.classes[archive.Ingots].staged() {
		if err == nil {
			err = take(rec)
		}
		if err != nil {
			return nil, err
		}
		if len(pours) == 0 {
			return needed, nil
		}
	}
	r, err := archive.OpenReader(filepath.Join(p.dir.dir, "packs"))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	for pour := range maps.Clone(pours) {
		rec, err := r.GetIn(archive.Ingots, pour)
		if err == nil {
			err = take(rec)
		}
		if err != nil {
			return nil, &Error{Code: CodeMissing, File: p.classes[archive.Ingots].file(), Detail: "the ingots of a logged pour are not there", Err: err}
		}
	}
	return needed, nil
}

// finish cuts the journals, stages the checkpoint and makes the stage the mirror.
func (p *pull) finish() error {
	for _, c := range archive.Classes() {
		if err := p.classes[c].trim(); err != nil {
			return err
		}
	}
	if err := p.removeParts(); err != nil {
		return err
	}
	if err := p.stagePruned(); err != nil {
		return err
	}
	if err := os.WriteFile(p.dir.stage("log", archive.CheckpointFile), p.now.signed, 0o644); err != nil {
		return err
	}
	return p.dir.commit()
}

// removeParts removes packs that an earlier pull began and this one did not need.
func (p *pull) removeParts() error {
	parts, err := filepath.Glob(p.dir.stage("packs", "*"+partSuffix))
	for _, part := range parts {
		err = errors.Join(err, os.Remove(part))
	}
	return err
}
