package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/node"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// reserve is a data directory, or a mirror of one, seen from outside.
type reserve struct {
	dir     string
	origin  string // "" in a mirror
	profile torq.Profile
}

// openReserve looks at a directory. A mirror has log and packs and no identity;
// its profile is the standard one unless named.
func openReserve(dir, profile string) (reserve, error) {
	r := reserve{dir: dir}
	id, p, err := node.ReadIdentity(dir)
	switch {
	case err == nil:
		r.origin, r.profile = id.Origin, p
		return r, nil
	case !errors.Is(err, fs.ErrNotExist):
		return r, err
	}
	if _, err := os.Stat(filepath.Join(dir, "log")); err != nil {
		return r, fmt.Errorf("%s is not a reserve's data directory nor a mirror: it has neither reserve.json nor log/ (choose another with --data)", dir)
	}
	r.profile, err = torq.ProfileByName(orStandard(profile))
	return r, err
}

func (r reserve) path(elem ...string) string {
	return filepath.Join(append([]string{r.dir}, elem...)...)
}

func (r reserve) inUse() bool { return inUse(r.dir) }

// logSize is how many entries the checkpoint covers, unchecked.
func (r reserve) logSize() (uint64, error) {
	signed, err := archive.OpenLog(os.DirFS(r.path("log"))).Checkpoint()
	if err != nil {
		return 0, err
	}
	text, _, _ := strings.Cut(string(signed), "\n\n")
	c, err := checkpoint.Parse(text + "\n")
	return c.Size, err
}

// charters are the logged charters from version 1 on, each checked against its
// digest and no further.
func (r reserve) charters() (charters []seal.Envelope, err error) {
	size, err := r.logSize()
	if err != nil {
		return nil, err
	}
	packs, err := archive.OpenReader(r.path("packs"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, packs.Close()) }()
	for e, err := range archive.OpenLog(os.DirFS(r.path("log"))).Entries(0, size) {
		if err != nil {
			return nil, err
		}
		if e.PayloadType != proof.TypeCharter {
			continue
		}
		env, err := packs.Envelope(archive.Identity, e.Digest)
		if err != nil {
			return nil, err
		}
		charters = append(charters, env)
	}
	return charters, nil
}
