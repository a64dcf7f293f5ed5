package archive

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"robotorq.org/reserve/proof"
)

// BackupsFile lies in a data directory of which copies were taken, and says when.
const BackupsFile = "backups.json"

// Coverage says of one kind of file of a data directory by what it is checked, or
// why it is not.
type Coverage struct {
	Kind    string `json:"kind"`
	Files   int    `json:"files"`
	Bytes   int64  `json:"bytes"`
	Checked bool   `json:"checked"`
	By      string `json:"by"`
}

// kind is a kind of file: how it is known, and by what it is checked.
type kind struct {
	name    string
	match   func(path string) bool
	checked bool   // by itself or by others
	by      string // what checks it, or why nothing has to
	rests   bool   // its digest is kept while the reserve is at rest
}

func below(dir string) func(string) bool {
	return func(p string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }
}

func named(patterns ...string) func(string) bool {
	return func(p string) bool {
		return slices.ContainsFunc(patterns, func(pattern string) bool { ok, err := path.Match(pattern, p); return err == nil && ok })
	}
}

// kinds are the kinds of files of a data directory; the first that matches counts.
func kinds() []kind {
	return []kind{
		{"log", below("log"), true, "verify: entries against the tree, tiles against the entries, the checkpoint against the charter", false},
		{"packs", below("packs"), true, "verify: digests, links, signatures, everything derived again", false},
		{"sums", named(AtRestFile), true, "verify: their own digest", false},
		{"sums of a change", named(BrokenFile), true, "verify: told until it is removed", false},
		{"bus", below("bus"), false, "means nothing: messages under way, made again from the stations' outboxes; may be deleted", false},
		{"lock", named("lock"), false, "means nothing: it is empty and only locked", false},
		{"write-ahead", named("*.db-wal", "*.db-shm", "robots/*/*.db-wal", "robots/*/*.db-shm"), false, "frames carry SQLite's own check sums; folded into the books by the next start", false},
		{"books of the vault", named("vault.db"), true, "audit: every row against postings and log; digest kept at the last stop", true},
		{"books of the stations", named("*.db"), false, "digest kept at the last stop", true},
		{"draft of a charter", named("keys/next/*.draft", "keys/next/started"), false, "means nothing until it is signed and adopted, which checks it", false},
		{"keys", func(p string) bool { return below("keys")(p) || below("root")(p) || named("robots/*/*.json")(p) }, false, "digest kept at the last stop", true},
		{"identity", named("reserve.json"), true, "verify: name and profile against log and charter; digest kept at the last stop", true},
		{"division", named("apart.json"), false, "digest kept at the last stop", true},
		{"spools", below("robots"), false, "digest kept at the last stop", true},
		{"people of the demo", below("demo"), false, "digest kept at the last stop", true},
		{"record of backups", named(BackupsFile, BackupsFile+".partial"), false, "means nothing to the proof: when copies were taken, for the operator", false},
		{"mark of a restored copy", named("restored.json"), false, "means nothing to the proof: until its first start the directory waits for a mirror's word; then it is removed", false},
		{"settings", named("*.toml"), false, "yours to change; read anew by each start", false},
	}
}

func kindOf(p string) kind {
	for _, k := range kinds() {
		if k.match(p) {
			return k
		}
	}
	return kind{name: "others", by: "not the reserve's, or not known to this program"}
}

// FileKind names the kind of a file of a data directory, as in [Coverage].
func FileKind(path string) string { return kindOf(path).name }

// Rests tells whether the digest of a file of a data directory is kept while the
// reserve is at rest: for [WriteAtRest].
func Rests(path string) bool {
	return kindOf(path).rests
}

// Cover goes through all files of a data directory and says of each kind what has
// checked it. Unless the reserve is live it compares those whose digest was kept
// when it stopped, after Verify has checked log and packs. The error is a
// *proof.Fault that names the first file which has changed since, or [BrokenFile] when
// an earlier start found one.
func Cover(ctx context.Context, dir string, live bool) ([]Coverage, error) {
	var sums []FileSum
	rested := false
	if !live {
		var err error
		if sums, rested, err = ReadAtRest(dir); err != nil {
			return nil, err
		}
	}
	kept := map[string]FileSum{}
	for _, f := range sums {
		kept[f.Path] = f
	}
	out := map[string]*Coverage{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || !d.Type().IsRegular() {
			if live && errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		return cover(out, kept, name, filepath.ToSlash(rel), live, rested)
	})
	if err == nil {
		err = gone(kept)
	}
	if err == nil {
		found, unread := isBroken(dir)
		if err = unread; found != nil {
			err = found
		}
	}
	return inOrder(out), err
}

// gone names the first file that is not there any more. Root keys are meant to be
// taken away.
func gone(kept map[string]FileSum) error {
	for _, path := range slices.Sorted(maps.Keys(kept)) {
		if !below("root")(path) {
			return &proof.Fault{Artefact: path, Rule: "at_rest", Detail: "is not there; it was when the reserve stopped"}
		}
	}
	return nil
}

// cover takes in one file.
func cover(out map[string]*Coverage, kept map[string]FileSum, name, path string, live, rested bool) error {
	k := kindOf(path)
	f, summed := kept[path]
	switch {
	case summed:
		now, err := sumPath(name, path)
		if err != nil {
			return err
		}
		if err := f.differs(now); err != nil {
			return err
		}
		delete(kept, path)
		k.checked = true
	case k.rests && live:
		k.name, k.by = k.name+", in use", "being written: stop the reserve for a check to the last byte"
		k.checked = false
	case k.rests && !rested:
		k.by = strings.TrimPrefix(strings.TrimSuffix(k.by, "; digest kept at the last stop"), "digest kept at the last stop")
		if !k.checked {
			k.by = "no digest: the reserve has not stopped by itself since it was started"
		}
	case k.rests:
		k.name, k.by, k.checked = k.name+", of others", "written by another process, or new since the reserve stopped", false
	}
	info, err := os.Lstat(name)
	if err != nil {
		if live && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	c := out[k.name]
	if c == nil {
		c = &Coverage{Kind: k.name, Checked: k.checked, By: k.by}
		out[k.name] = c
	}
	c.Files, c.Bytes = c.Files+1, c.Bytes+info.Size()
	return nil
}

// inOrder lists what is checked first, each in the order of the kinds' names.
func inOrder(out map[string]*Coverage) []Coverage {
	all := []Coverage{}
	for _, c := range out {
		all = append(all, *c)
	}
	slices.SortFunc(all, func(a, b Coverage) int {
		if a.Checked != b.Checked {
			if a.Checked {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Kind, b.Kind)
	})
	return all
}
