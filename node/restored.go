package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"robotorq.org/reserve/backup"
)

// checkRestored refuses to start a directory that was put back from a copy, unless the
// mirrors of its log are asked or the operator says that there are none: what the
// reserve did since the copy would be done a second time, otherwise.
func (n *Node) checkRestored(context.Context) error {
	data, err := os.ReadFile(n.path(backup.Marker))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var mark struct {
		Taken int64  `json:"taken_ms"`
		Log   uint64 `json:"log_size"`
	}
	if err := json.Unmarshal(data, &mark); err != nil {
		return fmt.Errorf("%s: %w", n.path(backup.Marker), err)
	}
	if len(n.cfg.Mirrors) > 0 || n.cfg.Alone {
		return nil
	}
	return fmt.Errorf("%s was restored from a copy of %s with a log of %d entries, and the log may have grown since: start it with --mirror URL, which confirms that it is not behind, or with --alone if nobody has anything newer",
		n.cfg.Data, time.UnixMilli(mark.Taken).Format(time.RFC3339), mark.Log)
}

// restored tells whether the directory was put back from a copy and has not run since.
func (n *Node) restored() (bool, error) {
	missing, err := absent(n.path(backup.Marker))
	return err == nil && !missing, err
}

// settleRestored forgets that the directory was restored, once its log has been
// confirmed and everything is open.
func (n *Node) settleRestored(context.Context) error {
	if err := os.Remove(n.path(backup.Marker)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
