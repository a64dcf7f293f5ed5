package node_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/node"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/torq"
)

const charterOrigin = "test.robotorq.org/charter"

// atRest is a data directory of a reserve that was founded and has stopped, and its root.
func atRest(t *testing.T) (dir string, root *seal.Signer) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	lives(t, dir, 1)
	root, err := seal.ReadKeyFile(filepath.Join(dir, "root", "root.json"), "")
	if err != nil {
		t.Fatal(err)
	}
	return dir, root
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error { // CopyFS gives them to others too
		if err == nil && !d.IsDir() {
			err = os.Chmod(path, 0o600)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func draft(t *testing.T, dir string, want node.NextCharter, roots ...*seal.Signer) seal.Succession {
	t.Helper()
	s, err := node.DraftCharter(t.Context(), dir, "", want, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	signAll(t, &s, roots...)
	return s
}

func signAll(t *testing.T, s *seal.Succession, roots ...*seal.Signer) {
	t.Helper()
	chain, err := seal.VerifyCharterChain(s.Charters, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, root := range roots {
		if err := s.Sign(chain, root); err != nil {
			t.Fatal(err)
		}
	}
}

func adopt(t *testing.T, dir string, s seal.Succession) (node.Adopted, error) {
	t.Helper()
	return node.AdoptCharter(t.Context(), dir, "", s, node.Clock{})
}

// coded tells the stable code of an error.
func coded(err error) string {
	var e interface{ ErrorCode() string }
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	return ""
}

// pinOf is what --root takes.
func pinOf(root *seal.Signer) merkle.Hash {
	k, _ := root.Key(seal.SLHDSA128s)
	return seal.KeyHash(k.Alg, k.Public)
}

// lives starts the reserve, waits until a version is logged, asks about it, and verifies
// what lies there afterwards with pinned roots alone.
func lives(t *testing.T, dir string, version int, pinned ...*seal.Signer) {
	t.Helper()
	err := run(t, node.Config{Data: dir, Origin: charterOrigin}, func(url string) {
		for range 200 {
			var list api.List[api.CharterVersion]
			_, body := get(t, url+"/api/v1/charters")
			if err := json.Unmarshal([]byte(body), &list); err != nil {
				t.Errorf("%v: %s", err, body)
				return
			}
			if len(list.Items) == version && list.Items[0].Logged {
				if _, body := get(t, url+"/readyz"); !strings.Contains(body, "ready") {
					t.Errorf("%s", body)
				}
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Errorf("version %d is not logged", version)
	})
	if err != nil {
		t.Fatal(err)
	}
	var pins []merkle.Hash
	for _, root := range pinned {
		pins = append(pins, pinOf(root))
	}
	sum, err := archive.VerifyDir(t.Context(), dir, archive.Options{Roots: pins, Profile: torq.Standard()})
	if err != nil || sum.Replay.Charters != uint64(version) || sum.Replay.Pinned != (len(pins) > 0) {
		t.Errorf("%+v, %v", sum.Replay, err)
	}
	if _, err := archive.Cover(t.Context(), dir, false); err != nil {
		t.Error(err)
	}
}

// keyIDOf is the id of the first key in a file of the data directory.
func keyIDOf(t *testing.T, dir, file string) string {
	t.Helper()
	s, err := seal.ReadKeyFile(filepath.Join(dir, "keys", file), "")
	if err != nil {
		t.Fatal(err)
	}
	return s.Keys[0].KeyID()
}

func TestNewKeysTakeEffectWithTheCharterThatNamesThemWhereverItIsCutOff(t *testing.T) {
	dir, root := atRest(t)
	old := keyIDOf(t, dir, "refinery.json")
	s := draft(t, dir, node.NextCharter{Renew: []string{"all"}, Leaked: true}, root)
	if keyIDOf(t, dir, "refinery.json") != old {
		t.Error("a draft has changed a key")
	}
	before := filepath.Join(t.TempDir(), "keys")
	copyTree(t, filepath.Join(dir, "keys"), before)
	done, err := adopt(t, dir, s)
	if err != nil || len(done.Renewed) != 7 || done.Charter.Version != 2 {
		t.Fatalf("%+v, %v", done, err)
	}
	adopted := t.TempDir()
	copyTree(t, dir, adopted)

	for name, cut := range map[string]func(keys string){
		"nowhere":                   nil,
		"behind the book":           func(string) {},
		"behind a link":             func(keys string) { keepFor(t, keys, "refinery") },
		"between two files of keys": func(keys string) { keepFor(t, keys, "digger"); renamed(t, keys, "digger") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			copyTree(t, adopted, dir)
			if cut != nil {
				copyTree(t, before, filepath.Join(dir, "keys"))
				if err := archive.DropAtRest(dir); err != nil { // as the crash would have
					t.Fatal(err)
				}
				cut(filepath.Join(dir, "keys"))
			}
			if name != "behind the book" { // the start does it as well
				if again, err := adopt(t, dir, s); err != nil || again.Before != nil || (cut == nil) != (len(again.Renewed) == 0) {
					t.Fatalf("again: %+v, %v", again, err)
				}
			}
			lives(t, dir, 2, root)
			if keyIDOf(t, dir, "refinery.json") == old || keyIDOf(t, dir, "ended/refinery-until-version-2.json") != old {
				t.Error("the refinery has its old key, or it is lost")
			}
			if _, err := os.Stat(filepath.Join(dir, "keys", "next")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("keys/next is still there: %v", err)
			}
		})
	}
}

func TestTheMintHasANewCharterBeforeAnythingRunsThatSigns(t *testing.T) {
	dir, root := atRest(t)
	s := draft(t, dir, node.NextCharter{Renew: []string{"mint", "vault"}, Leaked: true}, root)
	if _, err := adopt(t, dir, s); err != nil {
		t.Fatal(err)
	}
	if err := node.OpenOnly(t.Context(), node.Config{Data: dir}); err != nil {
		t.Fatal(err)
	}
	book, err := store.OpenReadOnly(t.Context(), filepath.Join(dir, "mint.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer book.Close()
	var first string
	err = book.View(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, "SELECT type FROM mint_queue ORDER BY place LIMIT 1").Scan(&first)
	})
	if err != nil || first != seal.TypeCharter {
		t.Errorf("the first to be logged is %q, %v", first, err)
	}
}

func keepFor(t *testing.T, keys, role string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Join(keys, "ended"), 0o700),
		os.Link(filepath.Join(keys, role+".json"), filepath.Join(keys, "ended", role+"-until-version-2.json"))); err != nil {
		t.Fatal(err)
	}
}

func renamed(t *testing.T, keys, role string) {
	t.Helper()
	if err := os.Rename(filepath.Join(keys, "next", role+".json"), filepath.Join(keys, role+".json")); err != nil {
		t.Fatal(err)
	}
}

func TestTheRootsOfAReserveAreReplacedOneBehindTheOther(t *testing.T) {
	dir, first := atRest(t)
	second, err := seal.NewSigner("root-2", seal.RoleRoot)
	if err != nil {
		t.Fatal(err)
	}
	// The new one signs beside the old one, and from then on two are needed.
	s := draft(t, dir, node.NextCharter{Roots: []*seal.Signer{second}, Threshold: 2}, first)
	if _, err := adopt(t, dir, s); coded(err) != node.CodeCharterUnsigned || !strings.Contains(err.Error(), "charter sign") {
		t.Errorf("signed by one of two: %v", err)
	}
	signAll(t, &s, second, second)
	if _, err := adopt(t, dir, s); err != nil {
		t.Fatal(err)
	}
	lives(t, dir, 2, first)

	third, err := seal.NewSigner("root-3", seal.RoleRoot)
	if err != nil {
		t.Fatal(err)
	}
	s = draft(t, dir, node.NextCharter{Roots: []*seal.Signer{third}, End: []string{"root-1"}, Leaked: true, Renew: []string{"vault"}}, first, second)
	if _, err := adopt(t, dir, s); coded(err) != node.CodeCharterUnsigned {
		t.Errorf("the ended root counts for its own end: %v", err)
	}
	signAll(t, &s, third)
	if _, err := adopt(t, dir, s); err != nil {
		t.Fatal(err)
	}
	lives(t, dir, 3, first)
	lives(t, dir, 3, second, third)
	// What the first one signs now counts nowhere.
	if s, err = node.DraftCharter(t.Context(), dir, "", node.NextCharter{Renew: []string{"mint"}}, time.Now()); err != nil {
		t.Fatal(err)
	}
	chain, err := seal.VerifyCharterChain(s.Charters, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Sign(chain, first); !seal.HasCode(err, seal.CodeUnknownKey) {
		t.Errorf("an ended root signs: %v", err)
	}
}

func TestADraftIsRefusedWithWhatToDo(t *testing.T) {
	dir, _ := atRest(t)
	for name, c := range map[string]struct {
		want node.NextCharter
		code string
	}{
		"nothing":              {node.NextCharter{}, node.CodeCharterNothing},
		"an unknown service":   {node.NextCharter{Renew: []string{"smelter"}}, node.CodeCharterName},
		"a root":               {node.NextCharter{Renew: []string{"root-1"}}, node.CodeCharterName},
		"an unknown key":       {node.NextCharter{End: []string{"00112233aabbccdd"}}, node.CodeCharterName},
		"a service's only key": {node.NextCharter{End: []string{"vault-1"}}, node.CodeCharterKeys},
		"keys of a moment":     {node.NextCharter{Renew: []string{"mint"}, Overlap: time.Hour, ValidFor: time.Minute}, node.CodeCharterKeys},
		"the last root":        {node.NextCharter{End: []string{"root-1"}}, node.CodeCharterRoot},
		"too high a threshold": {node.NextCharter{Threshold: 2}, node.CodeCharterRoot},
		"an old root again":    {node.NextCharter{Roots: []*seal.Signer{{Name: "root-1", Role: seal.RoleRoot}}}, node.CodeCharterName},
	} {
		if _, err := node.DraftCharter(t.Context(), dir, "", c.want, time.Now()); coded(err) != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
	first := draft(t, dir, node.NextCharter{Renew: []string{"mint"}})
	if _, err := node.DraftCharter(t.Context(), dir, "", node.NextCharter{Renew: []string{"mint"}}, time.Now()); coded(err) != node.CodeCharterDraft {
		t.Errorf("a second draft: %v", err)
	}
	again := draft(t, dir, node.NextCharter{Renew: []string{"mint"}, Again: true})
	if a, b := newKeys(t, first), newKeys(t, again); len(a) != 2 || !slices.Equal(a, b) {
		t.Errorf("another draft has other keys: %v, %v", a, b)
	}
}

// newKeys are the ids of the keys that a succession adds.
func newKeys(t *testing.T, s seal.Succession) (ids []string) {
	t.Helper()
	chain, err := seal.VerifyCharterChain(s.Charters, nil)
	if err != nil {
		t.Fatal(err)
	}
	st, err := s.Stand(chain)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range seal.Changes(st.Previous.Charter, st.Next) {
		if c.What == "key_added" {
			ids = append(ids, c.Key.KeyID)
		}
	}
	return ids
}

func TestAVersionIsRefusedWithWhatToDoAndNothingChanges(t *testing.T) {
	dir, root := atRest(t)
	s := draft(t, dir, node.NextCharter{Renew: []string{"refinery"}, Leaked: true}, root)
	stranger, err := seal.NewSigner("root-1", seal.RoleRoot)
	if err != nil {
		t.Fatal(err)
	}
	alter := func(change func(c *seal.Charter), signers ...*seal.Signer) seal.Succession {
		c, err := seal.DecodeCharter(s.Next.Payload)
		if err != nil {
			t.Fatal(err)
		}
		change(c)
		env, err := c.Sign(signers...)
		if err != nil {
			t.Fatal(err)
		}
		return seal.Succession{Charters: s.Charters, Next: env}
	}
	same := func(*seal.Charter) {}
	unsigned := s
	unsigned.Next.Signatures = nil
	first, err := seal.DecodeCharter(s.Charters[0].Payload)
	if err != nil {
		t.Fatal(err)
	}
	over := uint64(time.Now().UnixMilli()) - 1
	for name, c := range map[string]struct {
		s    seal.Succession
		code string
	}{
		"unsigned":                    {unsigned, node.CodeCharterUnsigned},
		"signed by a stranger":        {alter(same, stranger), string(seal.CodeUnknownKey)},
		"with a stranger as its own":  {alter(func(c *seal.Charter) { c.Keys = append(c.Keys, stranger.PublicKeys(c.IssuedMS)...) }, stranger), node.CodeCharterUnsigned},
		"of another reserve":          {alter(func(c *seal.Charter) { c.Name = "other.robotorq.org/log"; c.Keys = c.Keys[:2] }, root), node.CodeCharterOther},
		"behind another version":      {alter(func(c *seal.Charter) { c.Version = 3 }, root), node.CodeCharterOther},
		"a key dropped":               {alter(func(c *seal.Charter) { c.Keys = slices.Delete(c.Keys, 4, 5) }, root), string(seal.CodeCharterLink)},
		"issued ahead":                {alter(func(c *seal.Charter) { c.IssuedMS += 3_600_000; moveEnds(c, c.IssuedMS) }, root), node.CodeCharterTime},
		"a station without a key":     {alter(func(c *seal.Charter) { endOf(c, seal.RoleVault, c.IssuedMS) }, root), node.CodeCharterKeys},
		"an end that is over":         {alter(func(c *seal.Charter) { c.IssuedMS = first.IssuedMS; moveEnds(c, over) }, root), node.CodeCharterSigned},
		"an end before the last work": {alter(func(c *seal.Charter) { c.IssuedMS = first.IssuedMS; moveEnds(c, c.IssuedMS) }, root), node.CodeCharterSigned},
	} {
		if _, err := adopt(t, dir, c.s); coded(err) != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
	if all, err := node.Charters(t.Context(), dir); err != nil || len(all) != 1 {
		t.Errorf("%d charters, %v", len(all), err)
	}
	// A start since the draft: the ended key may have signed.
	lives(t, dir, 1, root)
	if _, err := adopt(t, dir, s); coded(err) != node.CodeCharterSigned || !strings.Contains(err.Error(), "--again") {
		t.Errorf("after a start: %v", err)
	}
	s = draft(t, dir, node.NextCharter{Renew: []string{"refinery"}, Leaked: true, Again: true}, root)
	if _, err := adopt(t, dir, s); err != nil {
		t.Fatal(err)
	}
	lives(t, dir, 2, root)
}

// moveEnds puts the ends that a version sets at a time.
func moveEnds(c *seal.Charter, at uint64) {
	for i, k := range c.Keys {
		if k.NotAfterMS != nil {
			c.Keys[i].NotAfterMS = &at
		}
	}
}

func endOf(c *seal.Charter, role string, at uint64) {
	for i, k := range c.Keys {
		if k.Role == role {
			c.Keys[i].NotAfterMS = &at
		}
	}
}

func TestAKeyThatIsLostIsReplaced(t *testing.T) {
	dir, root := atRest(t)
	for _, file := range []string{"log.json", "mint.json"} {
		if err := os.Remove(filepath.Join(dir, "keys", file)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := adopt(t, dir, draft(t, dir, node.NextCharter{Renew: []string{"log"}, Overlap: time.Hour}, root)); coded(err) != node.CodeCharterKeys {
		t.Errorf("one of two: %v", err)
	}
	s := draft(t, dir, node.NextCharter{Renew: []string{"log", "mint"}, Overlap: time.Hour, Again: true}, root)
	if _, err := adopt(t, dir, s); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, archive.BrokenFile)); err != nil { // somebody has looked: it is the lost file
		t.Fatal(err)
	}
	lives(t, dir, 2, root)
}

func TestADraftGoesAroundWhileTheReserveWorksAndALeakedKeyWaitsForItsStop(t *testing.T) {
	dir, root := atRest(t)
	var s seal.Succession
	err := run(t, node.Config{Data: dir}, func(string) {
		if _, err := node.DraftCharter(context.Background(), dir, "", node.NextCharter{Renew: []string{"log"}, Leaked: true}, time.Now()); coded(err) != node.CodeCharterInUse {
			t.Errorf("a leaked key while the reserve runs: %v", err)
		}
		var err error
		if s, err = node.DraftCharter(context.Background(), dir, "", node.NextCharter{Renew: []string{"log", "trust"}, Overlap: time.Hour, ValidFor: 48 * time.Hour}, time.Now()); err != nil {
			t.Error(err)
			return
		}
		signAll(t, &s, root)
		if _, err := adopt(t, dir, s); coded(err) != node.CodeCharterInUse {
			t.Errorf("adopted while the reserve runs: %v", err)
		}
	})
	if err != nil || t.Failed() {
		t.Fatal(err)
	}
	lives(t, dir, 1, root) // once more, before it is adopted
	done, err := adopt(t, dir, s)
	if err != nil || !slices.Equal(done.Renewed, []string{"trust-1", charterOrigin}) {
		t.Fatalf("%+v, %v", done, err)
	}
	for _, k := range done.Charter.KeysOf(seal.RoleLog) {
		if k.NotAfterMS == nil {
			t.Errorf("key %s has no end", k.KeyID)
		}
	}
	lives(t, dir, 2, root)
}
