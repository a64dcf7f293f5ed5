package witness

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/mod/sumdb/note"

	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
)

//go:embed schema/*.sql
var schemaFiles embed.FS

// Schema is the tables of a witness, for store.Open.
func Schema() store.Schema {
	files, err := fs.Sub(schemaFiles, "schema")
	if err != nil {
		panic("witness: the embedded schema is missing: " + err.Error())
	}
	return store.Schema{Name: "witness", Files: files}
}

// Clock tells the time of cosignatures.
type Clock interface{ Now() time.Time }

// Log is a log that a witness watches: its origin, and how its signed checkpoints
// are opened.
type Log struct {
	Origin string
	// Open checks that the log signed the checkpoint, and returns it. It is
	// called by several goroutines.
	Open func(signed []byte) (checkpoint.Checkpoint, error)
}

// LogOf is a log known by its keys, all of which must have signed.
func LogOf(origin string, verifiers ...note.Verifier) Log {
	return Log{Origin: origin, Open: func(signed []byte) (checkpoint.Checkpoint, error) {
		return checkpoint.Open(signed, origin, verifiers...)
	}}
}

// LogOfCharter is the log of a reserve, known by its charter: one open log key of
// each algorithm that the charter requires must have signed. current is asked at
// each request, so that a rotated key counts as soon as the witness has the
// charter that names it.
func LogOfCharter(origin string, current func() *seal.Charter) Log {
	return Log{Origin: origin, Open: func(signed []byte) (checkpoint.Checkpoint, error) {
		charter := current()
		if charter == nil || charter.Name != origin {
			return checkpoint.Checkpoint{}, failf(CodeUnknown, "there is no charter of %q yet", origin)
		}
		return proof.OpenForeignCheckpoint(charter, signed, charter.IssuedMS)
	}}
}

// Config says who a witness is and what it watches.
type Config struct {
	Signer *seal.Signer // role witness; its name is the witness's
	DB     *store.DB    // with [Schema]; nothing else may be written by another witness
	Logs   []Log
	Clock  Clock
	Warn   *slog.Logger // told of conflicts; nil: nobody
}

// Server is a witness. It may be used by several goroutines.
type Server struct {
	cosigner *checkpoint.Cosigner
	db       *store.DB
	logs     map[string]Log
	byHash   map[string]string // hex SHA-256 of the origin → origin
	clock    Clock
	warn     *slog.Logger
}

// New makes a witness over its book.
func New(c Config) (*Server, error) {
	if c.Signer == nil || c.Signer.Role != seal.RoleWitness || c.DB == nil || c.Clock == nil {
		return nil, failf(CodeRequest, "a witness needs a signer of role %s, a book and a clock", seal.RoleWitness)
	}
	key, _ := c.Signer.Key(seal.Ed25519)
	cosigner, err := checkpoint.NewCosigner(c.Signer.Name, key)
	if err != nil {
		return nil, err
	}
	s := &Server{cosigner: cosigner, db: c.DB, logs: map[string]Log{}, byHash: map[string]string{}, clock: c.Clock, warn: c.Warn}
	if s.warn == nil {
		s.warn = slog.New(slog.DiscardHandler)
	}
	for _, l := range c.Logs {
		if _, twice := s.logs[l.Origin]; twice || l.Open == nil {
			return nil, failf(CodeRequest, "log %q is configured twice, or without keys", l.Origin)
		}
		sum := sha256.Sum256([]byte(l.Origin))
		s.logs[l.Origin], s.byHash[hex.EncodeToString(sum[:])] = l, l.Origin
	}
	return s, nil
}

// VerifierKey is the witness's public key as others configure it (type 0x04).
func (s *Server) VerifierKey() string { return s.cosigner.VerifierKey() }

// held is the row of a log; the zero value (of the empty tree) when there is none.
type held struct {
	checkpoint.Checkpoint
	signed  []byte
	seconds uint64
}

func readHeld(ctx context.Context, tx *sql.Tx, origin string) (held, error) {
	h := held{Checkpoint: checkpoint.Checkpoint{Origin: origin, Root: merkle.EmptyRoot()}}
	var root []byte
	err := tx.QueryRowContext(ctx, `SELECT size, root, signed, seconds FROM witness_log WHERE origin = ?`, origin).
		Scan(&h.Size, &root, &h.signed, &h.seconds)
	if errors.Is(err, sql.ErrNoRows) {
		return h, nil
	}
	if err != nil {
		return h, err
	}
	h.Root, err = merkle.HashOf(root)
	return h, err
}

// Add takes an add-checkpoint request and returns the cosignature line. A nil
// error means that the checkpoint is in the book, on disk. Errors of the protocol
// are *Error; [CodeSize] carries the size that the book has.
func (s *Server) Add(ctx context.Context, r Request) (line string, err error) {
	offered, err := r.checkpoint()
	if err != nil {
		return "", err
	}
	watched, ok := s.logs[offered.Origin]
	if !ok {
		return "", failf(CodeUnknown, "log %q is not watched here", offered.Origin)
	}
	opened, err := watched.Open(r.Signed)
	if err != nil {
		return "", &Error{Code: CodeForbidden, Detail: "checkpoint of " + offered.Origin, Err: err}
	}
	if r.Old > opened.Size {
		return "", failf(CodeRequest, "the old size %d is over the checkpoint's, %d", r.Old, opened.Size)
	}
	text, err := opened.Text()
	if err != nil {
		return "", &Error{Code: CodeRequest, Detail: "checkpoint", Err: err}
	}
	var seconds uint64
	var refused *Error
	err = s.db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		before, err := readHeld(ctx, tx, opened.Origin)
		if err != nil {
			return err
		}
		seconds = max(uint64(max(s.clock.Now().Unix(), 0)), before.seconds)
		if refused = check(before, opened, r); refused != nil {
			return s.keepConflict(ctx, tx, conflictOf(before, opened, refused), refused, before, r, seconds)
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO witness_log (origin, size, root, signed, seconds) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (origin) DO UPDATE SET size = excluded.size, root = excluded.root, signed = excluded.signed, seconds = excluded.seconds`,
			opened.Origin, opened.Size, opened.Root[:], r.Signed, seconds)
		return err
	})
	if err != nil {
		return "", err
	}
	if refused != nil {
		return "", refused
	}
	return s.cosigner.Cosign(text, seconds)
}

// check decides whether a checkpoint continues the one in the book.
func check(before held, offered checkpoint.Checkpoint, r Request) *Error {
	switch {
	case r.Old != before.Size:
		return &Error{Code: CodeSize, Size: before.Size, Detail: fmt.Sprintf("the book is at size %d, not %d", before.Size, r.Old)}
	case offered.Size == before.Size && offered.Root != before.Root:
		return &Error{Code: CodeForked, Size: before.Size, Kept: before.signed, Offered: r.Signed,
			Detail: fmt.Sprintf("log %q forked: at size %d its root was %s, now it is %s", offered.Origin, before.Size, before.Root, offered.Root)}
	}
	if err := checkpoint.VerifyConsistency(before.Checkpoint, offered, r.Proof); err != nil {
		return &Error{Code: CodeProof, Size: before.Size, Kept: before.signed, Offered: r.Signed, Detail: "the consistency proof does not verify", Err: err}
	}
	return nil
}

// conflictsKept bounds the evidence of a log: the first ones of each kind.
const conflictsKept = 100

// Kinds of [Conflict].
const (
	KindForked   = "forked"   // both checkpoints are of one size: a proof in itself
	KindUnproven = "unproven" // the request's proof did not lead from one to the other
	KindShrank   = "shrank"   // the checkpoint is smaller than the one that was cosigned
)

// conflictOf tells which kind of conflict a refusal is, "" for none.
func conflictOf(before held, offered checkpoint.Checkpoint, refused *Error) string {
	switch {
	case refused.Code == CodeForked:
		return KindForked
	case refused.Code == CodeProof:
		return KindUnproven
	case offered.Size < before.Size:
		return KindShrank
	}
	return ""
}

// keepConflict writes down what the log's keys signed and its history does not
// lead to. It returns nil, so that the transaction is committed.
func (s *Server) keepConflict(ctx context.Context, tx *sql.Tx, kind string, refused *Error, before held, r Request, seconds uint64) error {
	if kind == "" {
		return nil
	}
	done, err := tx.ExecContext(ctx, `INSERT INTO witness_conflict (origin, kind, kept, offered, body, seconds)
		SELECT ?, ?, ?, ?, ?, ? WHERE (SELECT count(*) FROM witness_conflict WHERE origin = ? AND kind = ?) < ?
		ON CONFLICT DO NOTHING`,
		before.Origin, kind, before.signed, r.Signed, r.Marshal(), seconds, before.Origin, kind, conflictsKept)
	if err != nil {
		return err
	}
	if n, err := done.RowsAffected(); err != nil || n == 0 {
		return err // it was told before
	}
	s.warn.WarnContext(ctx, "a log's checkpoint does not continue what was cosigned", "log", before.Origin, "kind", kind,
		"kept_size", before.Size, "reason", refused.Detail, "kept", string(before.signed), "offered", string(r.Signed))
	return nil
}

// Conflict is a checkpoint that the log signed and that does not continue the one
// that was cosigned before it.
type Conflict struct {
	Origin string
	// Kind is [KindForked], which is a proof in itself, or [KindUnproven] or
	// [KindShrank], which may be the sender's fault alone.
	Kind    string
	Kept    []byte // signed note
	Offered []byte // signed note
	Body    []byte // the request
	Seconds uint64 // POSIX
}

// Error is the conflict as it is shown to people, with both checkpoints.
func (c Conflict) Error() string {
	code := map[string]string{KindForked: CodeForked, KindUnproven: CodeProof, KindShrank: CodeBehind}[c.Kind]
	e := Error{Code: code, Kept: c.Kept, Offered: c.Offered, Detail: map[string]string{
		KindForked: "the log has signed two trees of one size", KindUnproven: "the log has signed a checkpoint that was not shown to continue the one before",
		KindShrank: "a smaller checkpoint of the log was offered than the one before"}[c.Kind]}
	return e.Error()
}

// Conflicts returns the evidence against a log, oldest first.
func (s *Server) Conflicts(ctx context.Context, origin string) ([]Conflict, error) {
	return Conflicts(ctx, s.db, origin)
}

// Book is a witness's book, open for reading or for writing.
type Book interface {
	View(ctx context.Context, fn func(ctx context.Context, tx *sql.Tx) error) error
}

// Conflicts reads the evidence against a log, or against all of them ("" as
// origin), from a witness's book, oldest first.
func Conflicts(ctx context.Context, book Book, origin string) (out []Conflict, err error) {
	err = book.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT origin, kind, kept, offered, body, seconds FROM witness_conflict WHERE ? IN ('', origin) ORDER BY number`, origin)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var c Conflict
			if err := rows.Scan(&c.Origin, &c.Kind, &c.Kept, &c.Offered, &c.Body, &c.Seconds); err != nil {
				return err
			}
			out = append(out, c)
		}
		return rows.Err()
	})
	return out, err
}

// Latest returns the latest checkpoint that was cosigned of a log, with the
// cosignature; ok is false when there is none.
func (s *Server) Latest(ctx context.Context, origin string) (signed []byte, ok bool, err error) {
	var h held
	err = s.db.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		h, err = readHeld(ctx, tx, origin)
		return err
	})
	if err != nil || h.signed == nil {
		return nil, false, err
	}
	v, _, err := checkpoint.ParseCosignerKey(s.VerifierKey())
	if err != nil {
		return nil, false, err
	}
	bare, err := checkpoint.Strip(h.signed, v)
	if err != nil {
		return nil, false, err
	}
	line, err := s.cosigner.Cosign(checkpoint.NoteText(bare), h.seconds)
	if err != nil {
		return nil, false, err
	}
	signed, err = checkpoint.Attach(bare, []byte(line), v)
	return signed, err == nil, err
}

// Handler serves the witness below a prefix: POST /add-checkpoint, and for
// monitors GET /<hex SHA-256 of the origin>/checkpoint, the latest cosigned one.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add-checkpoint", s.add)
	mux.HandleFunc("GET /{log}/checkpoint", s.latest)
	return mux
}

func (s *Server) add(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxRequest))
	if err != nil {
		http.Error(w, "the request cannot be read, or is too long", http.StatusBadRequest)
		return
	}
	request, err := ParseRequest(body)
	if err != nil {
		refuse(w, err)
		return
	}
	line, err := s.Add(r.Context(), request)
	if err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, line) // the caller asks again when it did not arrive
}

// sizeType is the media type of an answer that tells the size in the book.
const sizeType = "text/x.tlog.size"

func refuse(w http.ResponseWriter, err error) {
	var e *Error
	if !errors.As(err, &e) {
		http.Error(w, "the witness cannot use its book", http.StatusInternalServerError)
		return
	}
	status := http.StatusBadRequest
	switch e.Code {
	case CodeUnknown:
		status = http.StatusNotFound
	case CodeForbidden:
		status = http.StatusForbidden
	case CodeForked:
		status = http.StatusConflict
	case CodeProof:
		status = http.StatusUnprocessableEntity
	case CodeSize:
		w.Header().Set("Content-Type", sizeType)
		w.WriteHeader(http.StatusConflict)
		_, _ = io.WriteString(w, strconv.FormatUint(e.Size, 10)+"\n")
		return
	}
	http.Error(w, e.Error(), status)
}

func (s *Server) latest(w http.ResponseWriter, r *http.Request) {
	origin, ok := s.byHash[r.PathValue("log")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	signed, ok, err := s.Latest(r.Context(), origin)
	switch {
	case err != nil:
		http.Error(w, "the witness cannot read its book", http.StatusInternalServerError)
		return
	case !ok:
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(signed)
}
