package node

import (
	"context"
	"path"
	"strings"

	"robotorq.org/reserve/archive"
)

// wake ends the rest of the data directory: what its files were when the last run
// stopped is compared once more, then forgotten, before anything is written. A file
// that has changed is told of and the start goes on; what hangs on it is checked by
// the stations, verify and audit. When everything is closed again the files are
// summed anew.
func (n *Node) wake() error {
	if _, err := archive.Cover(context.Background(), n.cfg.Data, false); err != nil {
		n.log.Error("the data directory has changed since the reserve stopped: run robotorq verify and robotorq audit", "err", err)
	}
	if err := archive.DropAtRest(n.cfg.Data); err != nil {
		return err
	}
	n.later(func() error { return archive.WriteAtRest(n.cfg.Data, n.rests) })
	return nil
}

// rests tells whether a file is this process's alone, so that it is at rest when the
// process ends. Robots have agents of their own, but for those of a demo.
func (n *Node) rests(file string) bool {
	if !n.cfg.Demo && strings.HasPrefix(path.Clean(file), robotsDir+"/") {
		return false
	}
	return archive.Rests(file)
}
