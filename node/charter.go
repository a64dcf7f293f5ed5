package node

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/trust"
)

// Keys below a data directory's keys/: those that wait for a charter which names them,
// and those that a charter has ended. The last are kept: nothing is proven by their loss.
const (
	nextDir     = "next"
	endedDir    = "ended"
	startedFile = "started" // in nextDir: when the reserve was started with it, Unix ms
)

// Codes of a [CharterError]. They are stable.
const (
	CodeCharterInUse    = "charter_in_use"    // the reserve must be stopped for this
	CodeCharterDraft    = "charter_draft"     // there is a draft already
	CodeCharterNothing  = "charter_nothing"   // nothing would change
	CodeCharterName     = "charter_name"      // no such name or key, or not one of this directory
	CodeCharterOther    = "charter_other"     // of another reserve, or not the next of this one
	CodeCharterUnsigned = "charter_unsigned"  // too few roots have signed
	CodeCharterKeys     = "charter_keys"      // a station would have no key here that it can sign with
	CodeCharterSigned   = "charter_signed"    // a key that ends has signed, or may have signed, after its end
	CodeCharterTime     = "charter_time"      // issued ahead of the clock
	CodeCharterRoot     = "charter_threshold" // more signers are asked for than there are roots
)

// CharterError is why a charter is not drafted or taken; nothing has changed.
type CharterError struct {
	Code   string
	Detail string
	Err    error
}

// Error implements error.
func (e *CharterError) Error() string {
	if e.Err != nil {
		return e.Detail + ": " + e.Err.Error()
	}
	return e.Detail
}

// Unwrap returns the cause.
func (e *CharterError) Unwrap() error { return e.Err }

// ErrorCode returns the stable code.
func (e *CharterError) ErrorCode() string { return e.Code }

func charterErr(code, format string, args ...any) error {
	return &CharterError{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// NextCharter is what the next version of a charter is to change.
type NextCharter struct {
	Renew     []string      // roles or names of this directory's services: they get new keys, the old ones end
	End       []string      // names, or ids of keys, that end without others in their place
	Leaked    bool          // old keys end when the version is issued, and the reserve has stopped; else Overlap later
	Overlap   time.Duration // how long old keys stay open, so that the version can be carried to its signers
	ValidFor  time.Duration // of new keys; 0: without an end
	Roots     []*seal.Signer
	Threshold uint64 // of the root signers; 0: as it is
	Again     bool   // another draft takes the place of one that is there
}

// place is where a service of this process has its key.
type place struct{ name, role string }

func (p place) file() string { return p.role + ".json" }

// places are the services whose keys lie in keys/ of a data directory.
func places(origin string) []place {
	return []place{
		{diggerID, seal.RoleDigger}, {refineryID, seal.RoleRefinery}, {mintID, seal.RoleMint}, {vaultID, seal.RoleVault},
		{trustID, seal.RoleTrust}, {registrarID, seal.RoleRegistrar}, {origin, seal.RoleLog},
	}
}

// DraftFile is where the draft of a version lies in a data directory.
func DraftFile(dir string, version uint64) string {
	return filepath.Join(dir, keysDir, nextDir, "charter-"+strconv.FormatUint(version, 10)+".draft")
}

// Charters are the versions in Trust's book of a data directory, in order: the newest may
// not be logged yet. It may be read while the reserve runs.
func Charters(ctx context.Context, dir string) (all []seal.Envelope, err error) {
	book, err := store.OpenReadOnly(ctx, filepath.Join(dir, "trust.db"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, book.Close()) }()
	err = book.View(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
		all, err = chartersIn(ctx, tx)
		return err
	})
	return all, err
}

func chartersIn(ctx context.Context, tx *sql.Tx) (all []seal.Envelope, err error) {
	rows, err := tx.QueryContext(ctx, "SELECT envelope FROM trust_document WHERE type = ? ORDER BY seq", proof.TypeCharter)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var raw []byte
		if err := rows.Scan(&raw); err != nil {
			return nil, err
		}
		env, err := seal.DecodeEnvelope(raw)
		if err != nil {
			return nil, err
		}
		all = append(all, env)
	}
	return all, rows.Err()
}

// DraftCharter makes the next version of a reserve's charter and the new keys that it
// names, in keys/next of the data directory, where nothing uses them yet. The draft is not
// signed. The reserve may run meanwhile, unless a key is leaked. Called again after a
// crash it goes on with the keys that it made.
func DraftCharter(ctx context.Context, dir, passphrase string, want NextCharter, now time.Time) (s seal.Succession, err error) {
	identity, _, err := ReadIdentity(dir)
	if err != nil {
		return s, err
	}
	lock, err := lockFileOf(dir)
	if err != nil && (want.Leaked || want.Overlap == 0 && len(want.Renew)+len(want.End) > 0) {
		return s, &CharterError{Code: CodeCharterInUse, Detail: "stop the reserve first: what it signs with a key from when that ends on counts for nothing", Err: err}
	}
	if err == nil {
		defer lock.Close()
	}
	if s.Charters, err = Charters(ctx, dir); err != nil {
		return s, err
	}
	chain, err := seal.VerifyCharterChain(s.Charters, nil)
	if err != nil {
		return s, err
	}
	before := chain.Latest()
	draft := DraftFile(dir, before.Version+1)
	if gone, err := absent(draft); err != nil || !gone && !want.Again {
		return s, errors.Join(err, charterErr(CodeCharterDraft, "%s is there already: have it signed and adopt it, or make another in its place with --again", draft))
	}
	next := before.Next(before.Digest, max(uint64(now.UnixMilli()), before.IssuedMS))
	d := drafting{want: want, before: before.Charter, next: next, ends: next.IssuedMS, dir: dir, passphrase: passphrase, origin: identity.Origin}
	if !want.Leaked {
		d.ends += uint64(want.Overlap.Milliseconds())
	}
	for _, step := range []func() error{d.renew, d.end, d.goOn, d.roots} {
		if err := step(); err != nil {
			return s, err
		}
	}
	if len(seal.Changes(before.Charter, next)) == 0 {
		return s, charterErr(CodeCharterNothing, "nothing would change: say what to renew, to end or to add")
	}
	payload, err := next.Encode()
	if err != nil {
		return s, err
	}
	s.Next = seal.Envelope{PayloadType: seal.TypeCharter, Payload: payload}
	if _, err := s.Stand(chain); err != nil {
		return s, err
	}
	if err := os.Remove(d.path(startedFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	return s, WriteSuccession(draft, s)
}

// WriteSuccession writes the file of a succession; a crash leaves the old one or the new one.
func WriteSuccession(path string, s seal.Succession) error {
	var text bytes.Buffer
	out := json.NewEncoder(&text)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	if err := out.Encode(s); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return writeFile(path, text.Bytes())
}

// drafting is a version that is being made.
type drafting struct {
	want         NextCharter
	before, next *seal.Charter
	ends         uint64 // of old keys
	dir          string
	passphrase   string
	origin       string
}

func (d *drafting) path(name string) string { return filepath.Join(d.dir, keysDir, nextDir, name) }

// renew gives services new keys. They are valid from a day before: what was done before
// the change and is signed after it has the time at which it was done.
func (d *drafting) renew() error {
	away, err := readApart(d.dir)
	if err != nil {
		return err
	}
	for _, p := range places(d.origin) {
		if !slices.Contains(d.want.Renew, p.name) && !slices.Contains(d.want.Renew, p.role) && !slices.Contains(d.want.Renew, "all") {
			continue
		}
		if away.has(p.role) {
			return charterErr(CodeCharterName, "%s works in another process, with its key in another directory: take it back first (robotorq hand-over --help)", p.name)
		}
		if err := os.MkdirAll(d.path(""), 0o700); err != nil {
			return err
		}
		if err := d.fit(p); err != nil {
			return err
		}
		fresh, err := openKey(d.path(p.file()), d.passphrase, p.name, p.role, true)
		if err != nil {
			return err
		}
		d.endAll(func(k seal.Key) bool { return k.Name == p.name && k.Role == p.role })
		for _, k := range fresh.PublicKeys(d.next.IssuedMS - min(d.next.IssuedMS, policy.Day)) {
			if d.want.ValidFor > 0 {
				until := d.next.IssuedMS + uint64(d.want.ValidFor.Milliseconds())
				k.NotAfterMS = &until
			}
			d.next.Keys = append(d.next.Keys, k)
		}
	}
	for _, name := range d.want.Renew {
		if name != "all" && !slices.ContainsFunc(places(d.origin), func(p place) bool { return p.name == name || p.role == name }) {
			var known []string
			for _, p := range places(d.origin) {
				known = append(known, p.role)
			}
			return charterErr(CodeCharterName, "%q is no service with a key here: choose of %s, or all; another root has a name of its own (--add-root)", name, strings.Join(known, " "))
		}
	}
	return nil
}

// fit refuses to make a plain key beside an encrypted one, and does away with a new key that
// has waited beside one that has leaked: whoever copied the one has the other.
func (d *drafting) fit(p place) error {
	own := filepath.Join(d.dir, keysDir, p.file())
	encrypted, err := seal.Encrypted(own)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if encrypted {
		if _, err := seal.ReadKeyFile(own, d.passphrase); err != nil {
			return err
		}
	}
	if !d.want.Leaked {
		return nil
	}
	waiting, err := seal.ReadKeyFile(d.path(p.file()), d.passphrase)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, k := range waiting.PublicKeys(0) {
		if slices.ContainsFunc(d.before.Keys, func(known seal.Key) bool { return known.KeyID == k.KeyID }) {
			return charterErr(CodeCharterDraft, "version %d of the charter is adopted, and its key of %s not yet in its place: start and stop the reserve once, then draft the next", d.before.Version, p.name)
		}
	}
	return archive.RearrangeAtRest(d.dir, func() error { return os.Remove(d.path(p.file())) })
}

// endAll ends the keys that are chosen, unless they end earlier, and tells how many there are.
func (d *drafting) endAll(chosen func(seal.Key) bool) (found int) {
	for i, k := range d.next.Keys {
		if i >= len(d.before.Keys) || !chosen(k) { // behind them are new ones
			continue
		}
		found++
		if k.NotAfterMS == nil || *k.NotAfterMS > d.ends {
			d.next.Keys[i].NotAfterMS = &d.ends
		}
	}
	return found
}

func (d *drafting) end() error {
	for _, name := range d.want.End {
		if d.endAll(func(k seal.Key) bool { return k.Name == name || k.KeyID == name }) == 0 {
			return charterErr(CodeCharterName, "the charter has no key and no name %q: robotorq charter show lists them", name)
		}
	}
	return nil
}

// goOn tests that every service is left with keys to sign with when the old ones have ended.
func (d *drafting) goOn() error {
	away, err := readApart(d.dir)
	if err != nil {
		return err
	}
	for _, p := range places(d.origin) {
		if d.want.Leaked && away.has(p.role) {
			continue // its key lies elsewhere and can only be ended: better stopped than forged
		}
		var ids []string
		for _, k := range d.next.KeysOf(p.role, p.name) {
			ids = append(ids, k.KeyID)
		}
		if !signsWith(d.next, p, ids, d.ends) {
			return charterErr(CodeCharterKeys, "%s would have no key at %s, when the old ones have ended: renew it (--renew %s)", p.name, moment(d.ends), p.role)
		}
	}
	return nil
}

// roots adds root signers, and sets the threshold.
func (d *drafting) roots() error {
	for _, root := range d.want.Roots {
		if root.Role != seal.RoleRoot || slices.ContainsFunc(d.before.KeysOf(seal.RoleRoot, root.Name), func(seal.Key) bool { return true }) {
			return charterErr(CodeCharterName, "%s %q cannot be added: it must be a root under a name that no root had before", root.Role, root.Name)
		}
		d.next.Keys = append(d.next.Keys, root.PublicKeys(d.next.IssuedMS)...)
	}
	if d.want.Threshold > 0 {
		d.next.Threshold = d.want.Threshold
	}
	names := map[string]bool{}
	for _, k := range d.next.KeysOf(seal.RoleRoot) {
		if k.NotAfterMS == nil {
			names[k.Name] = true
		}
	}
	if uint64(len(names)) < d.next.Threshold {
		return charterErr(CodeCharterRoot, "%d root signers would be needed for what follows, and %d have keys without an end: no later version could be signed", d.next.Threshold, len(names))
	}
	return nil
}

// Adopted is what [AdoptCharter] did.
type Adopted struct {
	Charter *seal.Charter
	Before  *seal.Charter // nil when the version was adopted earlier
	Digest  string
	Renewed []string // names whose key files were replaced
}

// AdoptCharter brings a signed version into a reserve that has stopped. It is checked as
// every verifier will check it, and that every station has a key here that it can sign
// with. The one step that decides is a transaction in Trust's book, by which the version is
// also on its way to the log; the key files follow the book, here or at the next start, and
// the old ones are kept in keys/ended. At that start the mint takes the version before
// anything else, so that nothing signed with a new key comes before it in the log. Calling it again is safe.
func AdoptCharter(ctx context.Context, dir, passphrase string, s seal.Succession, clock Clock) (done Adopted, err error) {
	identity, profile, err := ReadIdentity(dir)
	if err != nil {
		return done, err
	}
	lock, err := lockFileOf(dir)
	if err != nil {
		return done, &CharterError{Code: CodeCharterInUse, Detail: "a charter is adopted while the reserve is stopped", Err: err}
	}
	defer lock.Close()
	charters, err := Charters(ctx, dir)
	if err != nil {
		return done, err
	}
	chain, err := seal.VerifyCharterChain(charters, nil)
	if err != nil {
		return done, err
	}
	a := adoption{dir: dir, passphrase: passphrase, origin: identity.Origin, profile: profile, clock: clock, next: s.Next}
	done.Digest = s.Next.Digest().String()
	if latest := chain.Latest(); latest.Digest == s.Next.Digest() {
		done.Charter = latest.Charter
	} else if done.Charter, done.Before, err = a.check(ctx, chain, s); err != nil {
		return done, err
	}
	if err := a.tellLost(ctx); err != nil {
		return done, err
	}
	err = archive.RearrangeAtRest(dir, func() error {
		if done.Before != nil {
			if err := a.submit(ctx); err != nil {
				return err
			}
		}
		done.Renewed, err = promoteKeys(dir, passphrase, identity.Origin, done.Charter)
		return err
	})
	return done, err
}

type adoption struct {
	dir, passphrase, origin string
	profile                 torq.Profile
	clock                   Clock
	next                    seal.Envelope
}

// check refuses what must not be taken. The book may be read meanwhile; nothing is written.
func (a *adoption) check(ctx context.Context, chain *seal.CharterChain, s seal.Succession) (next, before *seal.Charter, err error) {
	latest := chain.Latest()
	if c, err := seal.DecodeCharter(s.Next.Payload); err == nil && (c.Name != latest.Name || c.Version != latest.Version+1 || c.Previous != latest.Digest) {
		return nil, nil, charterErr(CodeCharterOther, "this is version %d of %s behind %s; the reserve here is %s and has version %d, %s: make the draft again (robotorq charter next)",
			c.Version, c.Name, c.Previous, latest.Name, latest.Version, latest.Digest)
	}
	st, err := s.Stand(chain)
	if err != nil {
		return nil, nil, err
	}
	if !st.Met() {
		return nil, nil, charterErr(CodeCharterUnsigned, "version %d is signed by %s of the %d roots that version %d asks for, and by %s of the %d that it asks for itself: have others sign it (robotorq charter sign FILE --key ROOTKEY)",
			st.Next.Version, counted(st.Before), st.Before.Needed, latest.Version, counted(st.Own), st.Own.Needed)
	}
	now := uint64(a.clock.Now().UnixMilli())
	if st.Next.IssuedMS > now {
		return nil, nil, charterErr(CodeCharterTime, "version %d was issued at %s, and it is %s here: set the clock right, or wait", st.Next.Version, moment(st.Next.IssuedMS), moment(now))
	}
	if err := a.keysAtHand(st.Next, now); err != nil {
		return nil, nil, err
	}
	return st.Next, latest.Charter, a.endsInTime(ctx, latest.Charter, st.Next, now)
}

// tellLost notes a key file that is gone as a start does that finds a file changed at rest.
func (a *adoption) tellLost(ctx context.Context) error {
	for _, p := range places(a.origin) {
		gone, err := absent(filepath.Join(a.dir, keysDir, p.file()))
		if err != nil {
			return err
		}
		if !gone {
			continue
		}
		_, err = archive.Cover(ctx, a.dir, false)
		if f := proof.AsFault(err); f != nil && f.Artefact != archive.BrokenFile {
			return archive.BreakAtRest(a.dir, f)
		}
		return nil
	}
	return nil
}

func counted(q seal.Quorum) string {
	if len(q.Signers) == 0 {
		return "none"
	}
	return strconv.Itoa(len(q.Signers)) + " (" + strings.Join(q.Signers, ", ") + ")"
}

func moment(ms uint64) string { return time.UnixMilli(int64(ms)).UTC().Format(time.RFC3339) }

// keysAtHand tests that every service which works here has a key to go on with.
func (a *adoption) keysAtHand(next *seal.Charter, now uint64) error {
	away, err := readApart(a.dir)
	if err != nil {
		return err
	}
	for _, p := range places(a.origin) {
		if away.has(p.role) {
			continue
		}
		ids, _, err := keyIDs(filepath.Join(a.dir, keysDir, p.file()), a.passphrase)
		if err != nil {
			return err
		}
		fresh, waits, err := keyIDs(filepath.Join(a.dir, keysDir, nextDir, p.file()), a.passphrase)
		if err != nil {
			return err
		}
		if waits && signsWith(next, p, fresh, now) || signsWith(next, p, ids, now) {
			continue
		}
		return charterErr(CodeCharterKeys, "under version %d %s could sign with no key that is here: the draft must be the one whose new keys lie in %s",
			next.Version, p.name, filepath.Join(a.dir, keysDir, nextDir))
	}
	return nil
}

// signsWith tells whether a charter lets a service sign with keys from a time on.
func signsWith(c *seal.Charter, p place, ids []string, at uint64) bool {
	by := map[string]bool{}
	for _, k := range c.KeysOf(p.role, p.name) {
		if slices.Contains(ids, k.KeyID) && k.ValidAt(at) {
			by[k.Alg] = true
		}
	}
	return !slices.ContainsFunc(c.Required(p.role), func(alg string) bool { return !by[alg] })
}

// endsInTime tests that no key which ends has signed after its end: neither by what is in
// the books, nor by a start of the reserve since the draft was made.
func (a *adoption) endsInTime(ctx context.Context, before, next *seal.Charter, now uint64) error {
	started, err := startedSince(a.dir)
	if err != nil {
		return err
	}
	for _, change := range seal.Changes(before, next) {
		k := change.Key
		if change.What != "key_ended" || k.Role == seal.RoleRoot || k.Role == seal.RoleWitness {
			continue
		}
		ends := *k.NotAfterMS
		if ends <= now && (ends > next.IssuedMS || started) {
			return charterErr(CodeCharterSigned, "key %s of %s would have ended at %s, and the reserve may have signed with it since: make the draft again (robotorq charter next --again), for a leaked key while the reserve is stopped",
				k.KeyID, k.Name, moment(ends))
		}
		last, err := a.lastWork(ctx)
		if err != nil {
			return err
		}
		if last >= ends {
			return charterErr(CodeCharterSigned, "key %s of %s would end at %s, and the books hold something that is dated %s: make the draft again a minute after that",
				k.KeyID, k.Name, moment(ends), moment(last))
		}
	}
	return nil
}

// lastWork is the latest time that the books of the stations show.
func (a *adoption) lastWork(ctx context.Context) (last uint64, err error) {
	for book, query := range map[string]string{
		"digger": "SELECT coalesce(max(sealed), 0) FROM assay_digger", "refinery": "SELECT coalesce(max(sealed), 0) FROM refinery_chain",
		"mint": "SELECT coalesce(max(sealed), 0) FROM mint_chain", "vault": "SELECT coalesce(max(time), 0) FROM vault_posting",
	} {
		path := filepath.Join(a.dir, book+".db")
		if gone, err := absent(path); err != nil || gone { // handed over
			if err != nil {
				return 0, err
			}
			continue
		}
		r, err := store.OpenReadOnly(ctx, path)
		if err != nil {
			return 0, err
		}
		var at int64
		err = r.View(ctx, func(ctx context.Context, tx *sql.Tx) error { return tx.QueryRowContext(ctx, query).Scan(&at) })
		if err = errors.Join(err, r.Close()); err != nil {
			return 0, err
		}
		last = max(last, uint64(at))
	}
	return last, nil
}

// submit hands the version to Trust.
func (a *adoption) submit(ctx context.Context) (err error) {
	db, err := store.Open(ctx, filepath.Join(a.dir, "trust.db"), store.Options{Schemas: schemas()["trust"]})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	out, err := bus.NewOutbox(ctx, db, trustID, mintID)
	if err != nil {
		return err
	}
	station, err := trust.Open(ctx, trust.Options{ID: trustID, Profile: a.profile, DB: db, Outbox: out, Clock: a.clock})
	if err != nil {
		return err
	}
	return station.Submit(ctx, a.next)
}
