package node

import (
	"context"
	"path"
	"strings"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/proof"
)

// wake ends the rest of the data directory: what its files were when the last run
// stopped is compared once more, then forgotten, before anything is written. A file
// that has changed is told of and the start goes on; what hangs on it is checked by
// the stations, verify and audit. The sums are then put aside with what was found, and
// no new ones are taken while they lie there: they would call the damage good.
//
// When everything is closed again the files are summed anew, unless the start failed:
// what it may have found wrong is not to be summed.
func (n *Node) wake() error {
	_, err := archive.Cover(context.Background(), n.cfg.Data, false)
	if err != nil {
		n.log.Error("the data directory has changed since the reserve stopped: run robotorq verify and robotorq audit", "err", err)
	}
	forget := archive.DropAtRest
	if f := proof.AsFault(err); f != nil && f.Artefact != archive.BrokenFile {
		forget = func(dir string) error { return archive.BreakAtRest(dir, f) }
	}
	if err := forget(n.cfg.Data); err != nil {
		return err
	}
	n.later(func() error {
		if !n.awake {
			return nil
		}
		return archive.WriteAtRest(n.cfg.Data, n.rests)
	})
	return nil
}

// stayAwake says that everything is open: from now on a stop sums the files.
func (n *Node) stayAwake(context.Context) error {
	n.awake = true
	return nil
}

// rests tells whether a file is this process's alone, so that it is at rest when the
// process ends. Robots have agents of their own, but for those that a demo runs.
func (n *Node) rests(file string) bool {
	if robot, found := strings.CutPrefix(path.Clean(file), robotsDir+"/"); found {
		id, _, _ := strings.Cut(robot, "/")
		if _, own := n.robots.Load(id); !own {
			return false
		}
	}
	return archive.Rests(file)
}
