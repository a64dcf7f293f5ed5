package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/seal"
)

// has tells whether a station is not in the reserve's own directory, or on its way.
func (n apartNote) has(service string) bool {
	_, moving := n.Moving[service]
	return moving || slices.Contains(n.Apart, service)
}

// keyIDs are the ids in a key file; here is false when there is none.
func keyIDs(path, passphrase string) (ids []string, here bool, err error) {
	if gone, err := absent(path); err != nil || gone {
		return nil, false, err
	}
	s, err := seal.ReadKeyFile(path, passphrase)
	if err != nil {
		return nil, true, err
	}
	for _, k := range s.Keys {
		ids = append(ids, k.KeyID())
	}
	return ids, true, nil
}

// promoteKeys puts the keys that a charter has come to name in the place of those that they
// follow, which go to keys/ended. A crash leaves the old key in its place or the new one,
// and the next call goes on. It returns the names of those that it replaced.
func promoteKeys(dir, passphrase, origin string, charter *seal.Charter) (names []string, err error) {
	keys := filepath.Join(dir, keysDir)
	for _, p := range places(origin) {
		fresh := filepath.Join(keys, nextDir, p.file())
		ids, waits, err := keyIDs(fresh, passphrase)
		if err != nil {
			return names, err
		}
		if !waits || slices.ContainsFunc(ids, func(id string) bool {
			return !slices.ContainsFunc(charter.KeysOf(p.role, p.name), func(k seal.Key) bool { return k.KeyID == id })
		}) {
			continue
		}
		old := filepath.Join(keys, p.file())
		if err := keepAside(old, filepath.Join(keys, endedDir, p.role+"-until-version-"+strconv.FormatUint(charter.Version, 10)+".json")); err != nil {
			return names, err
		}
		if err := os.Rename(fresh, old); err != nil {
			return names, err
		}
		for _, d := range []string{keys, filepath.Join(keys, nextDir)} {
			if err := syncDir(d); err != nil {
				return names, err
			}
		}
		names = append(names, p.name)
	}
	return names, clearNext(dir, charter.Version)
}

// keepAside gives a file, if it is there, another name beside its own, durably.
func keepAside(path, aside string) error {
	if lost, err := absent(path); err != nil || lost {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(aside), 0o700); err != nil {
		return err
	}
	err := os.Link(path, aside)
	if errors.Is(err, fs.ErrExist) && same(path, aside) { // a crash came behind the link
		err = nil
	}
	if err != nil {
		return err
	}
	return errors.Join(syncDir(filepath.Dir(aside)), syncDir(filepath.Dir(filepath.Dir(aside))))
}

// same tells whether two files are one, or copies: a copy of a directory may have made two
// of one.
func same(a, b string) bool {
	if sameDirectory(a, b) {
		return true
	}
	x, err := os.ReadFile(a)
	y, other := os.ReadFile(b)
	return err == nil && other == nil && bytes.Equal(x, y)
}

// clearNext removes the drafts of versions up to one, and keys/next when nothing else is
// in it. Keys that no charter names stay.
func clearNext(dir string, version uint64) error {
	next := filepath.Join(dir, keysDir, nextDir)
	entries, err := os.ReadDir(next)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	left := 0
	for _, e := range entries {
		number, draft := strings.CutPrefix(strings.TrimSuffix(e.Name(), ".draft"), "charter-")
		of, err := strconv.ParseUint(number, 10, 64)
		if e.Name() != startedFile && (!draft || err != nil || of > version) {
			left++
			continue
		}
		if err := os.Remove(filepath.Join(next, e.Name())); err != nil {
			return err
		}
	}
	if left > 0 {
		return nil
	}
	if err := os.Remove(next); err != nil {
		return err
	}
	return syncDir(filepath.Dir(next))
}

// startedSince tells whether the reserve was started after the draft in keys/next was made.
func startedSince(dir string) (bool, error) {
	gone, err := absent(filepath.Join(dir, keysDir, nextDir, startedFile))
	return err == nil && !gone, err
}

// settleKeys finishes what an adoption of a charter began, before the keys are opened; and
// notes beside a draft that waits for its signatures that the reserve has signed since.
func (n *Node) settleKeys(ctx context.Context) error {
	next := n.path(keysDir, nextDir)
	if gone, err := absent(next); err != nil || gone {
		return err
	}
	charters, err := Charters(ctx, n.cfg.Data)
	if err != nil {
		return err
	}
	if len(charters) == 0 {
		return nil
	}
	newest, err := seal.DecodeCharter(charters[len(charters)-1].Payload)
	if err != nil {
		return err
	}
	renewed, err := promoteKeys(n.cfg.Data, n.cfg.Passphrase, n.identity.Origin, newest)
	if err != nil {
		return fmt.Errorf("the keys of version %d of the charter cannot be put in place: %w", newest.Version, err)
	}
	if len(renewed) > 0 {
		n.log.Info("new keys are in place", "version", newest.Version, "of", renewed)
	}
	if gone, err := absent(next); err != nil || gone {
		return err
	}
	return writeFile(filepath.Join(next, startedFile), strconv.AppendInt(nil, n.clock.Now().UnixMilli(), 10))
}

// charterFirst has the mint take what waits in Trust's outbox, a new charter perhaps, before
// anything runs that signs. A station signs with its new key from the first moment on, and
// whoever judges by the log must find the charter that names it before what it signed.
// Diggers and refineries may hear of it later: they wait for what they have not heard of.
func (n *Node) charterFirst(ctx context.Context) error {
	mark := bus.StoredMark(n.dbs["mint"], mintID, trustID)
	for _, box := range n.boxes {
		if box.Producer() != trustID {
			continue
		}
		if err := box.Deliver(ctx, mark, n.mint.Documents); err != nil {
			return fmt.Errorf("the mint does not take what Trust has admitted: %w", err)
		}
	}
	return nil
}
