package explorer

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"

	"golang.org/x/mod/sumdb/note"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// This file shows the proof log: its checkpoint, its entries, and the proof of each.

// enterEntry notes an entry of the log.
func enterEntry(e archive.Entry) func(context.Context, *sql.Tx) error {
	return func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO explorer_entry (entry, kind, digest) VALUES (?, ?, ?)",
			int64(e.Index), proof.ShortType(e.PayloadType), e.Digest[:])
		return err
	}
}

func countKinds(ctx context.Context, tx *sql.Tx, kinds map[string]int) error {
	for kind, n := range kinds {
		_, err := tx.ExecContext(ctx, "INSERT INTO explorer_kind (kind, count) VALUES (?, ?) ON CONFLICT (kind) DO UPDATE SET count = explorer_kind.count + excluded.count", kind, n)
		if err != nil {
			return err
		}
	}
	return nil
}

// entry is a line of the catalogue.
type entry struct {
	index  uint64
	kind   string
	digest merkle.Hash
}

const entryColumns = "SELECT entry, kind, digest FROM explorer_entry "

// entries reads lines of the catalogue.
func (c *catalogue) entries(ctx context.Context, which string, args ...any) (all []entry, err error) {
	err = c.db.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, entryColumns+which, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var e entry
			var digest []byte
			if err := rows.Scan(&e.index, &e.kind, &digest); err != nil {
				return err
			}
			copy(e.digest[:], digest)
			all = append(all, e)
		}
		return rows.Err()
	})
	return all, err
}

// entriesFrom lists up to n entries from an index downwards.
func (c *catalogue) entriesFrom(ctx context.Context, kind string, from uint64, n int) ([]entry, error) {
	if kind == "" {
		return c.entries(ctx, "WHERE entry <= ? ORDER BY entry DESC LIMIT ?", int64(from), n)
	}
	return c.entries(ctx, "WHERE kind = ? AND entry <= ? ORDER BY entry DESC LIMIT ?", kind, int64(from), n)
}

// filtered is entriesFrom for a filter. A digest is logged once.
func (c *catalogue) filtered(ctx context.Context, which api.EntryFilter, from uint64, n int) ([]entry, error) {
	if which.Digest == "" {
		return c.entriesFrom(ctx, which.Kind, from, n)
	}
	digest, err := merkle.ParseHash(which.Digest)
	if err != nil {
		return nil, nil
	}
	all, err := c.entries(ctx, "WHERE digest = ? AND entry <= ? ORDER BY entry DESC LIMIT ?", digest[:], int64(from), n)
	return slices.DeleteFunc(all, func(e entry) bool { return which.Kind != "" && e.kind != which.Kind }), err
}

// entryOf is where an artefact is logged.
func (c *catalogue) entryOf(ctx context.Context, digest merkle.Hash) (index uint64, found bool, err error) {
	all, err := c.entries(ctx, "WHERE digest = ? ORDER BY entry LIMIT 1", digest[:])
	if err != nil || len(all) == 0 {
		return 0, false, err
	}
	return all[0].index, true, nil
}

// kinds counts the entries by kind, most first.
func (c *catalogue) kinds(ctx context.Context) (all []api.KindCount, err error) {
	err = c.db.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		// There is one row for each kind of artefact.
		rows, err := tx.QueryContext(ctx, "SELECT kind, count FROM explorer_kind ORDER BY count DESC, kind")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var k api.KindCount
			if err := rows.Scan(&k.Kind, &k.Count); err != nil {
				return err
			}
			all = append(all, k)
		}
		return rows.Err()
	})
	return all, err
}

// signed is the published checkpoint.
func (c *catalogue) signed() (signed []byte, cp checkpoint.Checkpoint, err error) {
	if signed, err = c.log.Checkpoint(); err != nil {
		return nil, cp, err
	}
	text, _, _ := bytes.Cut(signed, []byte("\n\n"))
	cp, err = checkpoint.Parse(string(text) + "\n")
	return signed, cp, err
}

// Log implements [api.Records].
func (e *Explorer) Log(ctx context.Context) (l api.Log, err error) {
	s, err := e.attached()
	if err != nil {
		return l, err
	}
	if err := e.catalogue.refresh(ctx); err != nil {
		return l, err
	}
	signed, cp, err := e.catalogue.signed()
	if archiveMissing(err) {
		return l, api.NotFound("checkpoint", "yet")
	}
	if err != nil {
		return l, err
	}
	l = api.Log{Origin: cp.Origin, Size: cp.Size, Root: cp.Root.String(), Checkpoint: string(signed)}
	if l.Kinds, err = e.catalogue.kinds(ctx); err != nil {
		return l, err
	}
	var charter *seal.Charter
	s.Trust.With(func(r *proof.Registry) { charter = r.Charter() })
	if charter == nil {
		l.Fault = "there is no charter yet that says who may sign"
		return l, nil
	}
	if err := signers(&l, signed, charter, e.now()); err != nil {
		l.Fault = err.Error()
	}
	l.Checked = l.Fault == ""
	return l, nil
}

// signers says which of the charter's keys signed a checkpoint.
func signers(l *api.Log, signed []byte, charter *seal.Charter, now uint64) error {
	for _, k := range charter.KeysOf(seal.RoleLog) {
		if !k.ValidAt(now) {
			continue
		}
		v, err := checkpoint.NewVerifier(l.Origin, k.Alg, k.Public)
		if err != nil {
			return err
		}
		l.Signatures = append(l.Signatures, api.LogSignature{Name: k.Name, KeyID: k.KeyID, Alg: k.Alg, Good: opens(signed, v)})
	}
	witnesses := charter.KeysOf(seal.RoleWitness)
	verifiers, err := checkpoint.WitnessVerifiers(witnesses)
	if err != nil {
		return err
	}
	made, err := checkpoint.Cosignatures(signed, verifiers...)
	if err != nil {
		return err
	}
	for _, k := range witnesses {
		if k.Alg != seal.Ed25519 {
			continue
		}
		c := api.Cosignature{Name: k.Name, KeyID: k.KeyID}
		hash := checkpoint.CosignerHash(k.Name, k.Public)
		for _, m := range made {
			if m.KeyHash == hash && m.Name == k.Name {
				c.Time = int64(min(m.Seconds, math.MaxInt64/1000)) * 1000
			}
		}
		l.Witnesses = append(l.Witnesses, c)
	}
	for _, s := range l.Signatures {
		if !s.Good {
			return fmt.Errorf("the checkpoint is not signed by the log's %s key %s", s.Alg, s.KeyID)
		}
	}
	return nil
}

func opens(signed []byte, v note.Verifier) bool {
	_, err := note.Open(signed, note.VerifierList(v))
	return err == nil
}

// LogEntries implements [api.Records].
func (e *Explorer) LogEntries(ctx context.Context, which api.EntryFilter, page api.Page) (list api.List[api.LogEntry], err error) {
	if _, err := e.attached(); err != nil {
		return list, err
	}
	if err := e.catalogue.refresh(ctx); err != nil {
		return list, err
	}
	from, err := number(page.Cursor, math.MaxInt64)
	if err != nil {
		return list, err
	}
	n := limit(page)
	all, err := e.catalogue.filtered(ctx, which, from, n+1)
	if err != nil {
		return list, err
	}
	shown := cut(all, n, func(e entry) string { return decimal(e.index) })
	list = api.List[api.LogEntry]{Items: make([]api.LogEntry, len(shown.Items)), Next: shown.Next}
	for i, line := range shown.Items {
		if list.Items[i], _, err = e.line(line); err != nil {
			return list, err
		}
	}
	return list, nil
}

// payloadType is the type of a kind of artefact in the log.
func payloadType(kind string) string {
	form := "cbor"
	switch kind {
	case "charter", "enrolment", "policy":
		form = "json"
	}
	return "application/vnd.robotorq." + kind + ".v1+" + form
}

// line shows an entry; named is what it names, nil for a certificate and for what was
// pruned.
func (e *Explorer) line(at entry) (line api.LogEntry, named *seal.Envelope, err error) {
	line = api.LogEntry{Index: at.index, Kind: at.kind, Type: payloadType(at.kind), Digest: at.digest.String()}
	if line.Type == proof.TypeCertificate {
		payload, err := e.Shelf.Certificate(at.digest)
		if archive.IsCode(err, archive.CodeNotFound) {
			return line, nil, nil
		}
		if err != nil {
			return line, nil, err
		}
		c, err := proof.DecodeCertificate(payload)
		line.Subject, line.ID, line.About = "certificate", decimal(c.Serial), "certificate "+decimal(c.Serial)
		return line, nil, err
	}
	env, err := e.Shelf.Envelope(archive.ClassOf(line.Type), at.digest)
	if archive.IsCode(err, archive.CodeNotFound) {
		return line, nil, nil
	}
	if err != nil {
		return line, nil, err
	}
	tell, known := readers[env.PayloadType]
	if !known {
		return line, &env, nil
	}
	t, err := tell(env.Payload)
	line.Subject, line.ID, line.About = t.subject, t.id, t.about
	return line, &env, err
}

// told is what an artefact is of. Members are not named.
type told struct{ subject, id, about string }

// telling makes a reader of a payload from its decoder.
func telling[T any](decode func([]byte) (T, error), say func(T) told) func([]byte) (told, error) {
	return func(payload []byte) (told, error) {
		v, err := decode(payload)
		if err != nil {
			return told{}, err
		}
		return say(v), nil
	}
}

var readers = map[string]func([]byte) (told, error){
	proof.TypePour: telling(proof.DecodePour, func(p proof.Pour) told {
		return told{about: fmt.Sprintf("pour %d of %s, %d ingots", p.Seq, p.Refinery, p.Count)}
	}),
	proof.TypeRun: telling(proof.DecodeRun, func(r proof.Run) told {
		return told{"certificate", decimal(r.First), fmt.Sprintf("run %d of %s, certificates %d to %d", r.Seq, r.Mint, r.First, r.First+r.Count-1)}
	}),
	proof.TypeCharter: telling(seal.DecodeCharter, func(c *seal.Charter) told {
		return told{"charter", decimal(c.Version), "charter, version " + decimal(c.Version)}
	}),
	proof.TypePolicy: telling(policy.Decode, func(d policy.Document) told {
		return told{"policy", decimal(d.Version), "policy, version " + decimal(d.Version)}
	}),
	proof.TypeEnrolment: telling(seal.DecodeEnrolment, func(e *seal.Enrolment) told {
		switch {
		case e.Robot != nil:
			return told{"robot", e.ID, fmt.Sprintf("robot %s, version %d", e.ID, e.Version)}
		case e.Org != nil:
			return told{about: fmt.Sprintf("organisation %s, version %d", e.ID, e.Version)}
		}
		return told{about: fmt.Sprintf("a member, version %d", e.Version)}
	}),
	proof.TypeContract: telling(proof.DecodeContract, func(c proof.Contract) told {
		n := decimal(contractNumber(c.ID))
		return told{"contract", n, "contract " + n + " of " + c.Enterprise}
	}),
	proof.TypeClosing: telling(proof.DecodeClosing, func(c proof.Closing) told {
		n := decimal(contractNumber(c.Contract))
		return told{"contract", n, "contract " + n + " closed: " + c.Reason}
	}),
	proof.TypeDistribution: telling(proof.DecodeDistribution, func(d proof.Distribution) told {
		return told{about: fmt.Sprintf("%s, %s in posting %d", d.Kind, torq.JT(d.Amount).RTGrouped(), d.Seq)}
	}),
	proof.TypeBond: telling(proof.DecodeBond, func(b proof.Bond) told {
		return told{"bond", decimal(b.Serial), fmt.Sprintf("bond %d of %d RT", b.Serial, b.Face)}
	}),
	proof.TypeSolvency: telling(proof.DecodeSolvency, func(s proof.Solvency) told {
		return told{about: fmt.Sprintf("%d wallets, %s, at posting %d", s.Wallets, torq.JT(s.Sum).RTGrouped(), s.Seq)}
	}),
	proof.TypeHead: telling(proof.DecodeHead, func(h proof.Head) told {
		return told{about: "the books at posting " + decimal(h.Seq)}
	}),
}

// LogEntry implements [api.Records].
func (e *Explorer) LogEntry(ctx context.Context, index uint64) (r api.LogRecord, err error) {
	if _, err := e.attached(); err != nil {
		return r, err
	}
	at, p, err := e.provenAt(ctx, index)
	if err != nil {
		return r, err
	}
	line, env, err := e.line(at)
	if err != nil {
		return r, err
	}
	r = api.LogRecord{LogEntry: line, Log: p}
	if env == nil || isMembers(*env) {
		return r, nil
	}
	r.Envelope, err = json.Marshal(env)
	return r, err
}

// isMembers tells whether an envelope is a member's enrolment. It is public as
// everything in the log is; pages and interface leave people alone.
func isMembers(env seal.Envelope) bool {
	if env.PayloadType != proof.TypeEnrolment {
		return false
	}
	enrolment, err := seal.DecodeEnrolment(env.Payload)
	return err != nil || enrolment.Member != nil
}

// provenAt reads an entry and proves it under the newest checkpoint.
func (e *Explorer) provenAt(ctx context.Context, index uint64) (at entry, p api.LogProof, err error) {
	if err := e.catalogue.refresh(ctx); err != nil {
		return at, p, err
	}
	signed, cp, err := e.catalogue.signed()
	if err != nil && !archiveMissing(err) {
		return at, p, err
	}
	if index >= cp.Size {
		return at, p, api.NotFound("log entry", index)
	}
	all, err := e.catalogue.entries(ctx, "WHERE entry = ?", int64(index))
	if err != nil {
		return at, p, err
	}
	if len(all) == 0 {
		return at, p, api.Errorf(api.CodeUnavailable, "Entry %d was published just now. Try again in a few seconds.", index)
	}
	path, err := checkpoint.ProveInclusion(cp.Size, index, e.catalogue.log.Hashes(cp.Size, cp.Root))
	if err != nil {
		return at, p, err
	}
	made := checkpoint.Proof{Index: index, Path: path, Checkpoint: signed}
	return all[0], api.LogProof{Origin: cp.Origin, Checkpoint: string(signed), Proof: string(made.Marshal())}, nil
}

// word is something that the vault said last, with its proof.
type word struct {
	entry
	envelope seal.Envelope
	text     json.RawMessage // of the envelope
	log      api.LogProof
}

// newest is the last word of a kind.
func (e *Explorer) newest(ctx context.Context, kind string) (w word, err error) {
	if _, err := e.attached(); err != nil {
		return w, err
	}
	if err := e.catalogue.refresh(ctx); err != nil {
		return w, err
	}
	all, err := e.catalogue.entriesFrom(ctx, kind, math.MaxInt64, 1)
	if err != nil {
		return w, err
	}
	if len(all) == 0 {
		return w, noStatement(&archive.Error{Code: archive.CodeNotFound, Detail: "the log has no entry of kind " + kind})
	}
	if w.entry, w.log, err = e.provenAt(ctx, all[0].index); err != nil {
		return w, err
	}
	if w.envelope, err = e.Shelf.Envelope(archive.ClassOf(payloadType(kind)), w.digest); err != nil {
		return w, pruned(err)
	}
	w.text, err = json.Marshal(w.envelope)
	return w, err
}

// archiveMissing tells whether there is no log yet.
func archiveMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
