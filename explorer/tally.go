package explorer

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"sync"

	"robotorq.org/reserve/digger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
)

// reportTally counts what the digger accepted: read once from its store, then from
// its hook, each batch once.
type reportTally struct {
	mu      sync.Mutex
	loaded  bool
	batches uint64 // seq of the last batch that is counted
	sealed  uint64 // of it, Unix ms
	reports uint64
	ore     uint64
	seen    map[string]uint64 // when a robot's last batch was sealed; old ones are dropped
}

// figures are what a reportTally has counted.
type figures struct{ batches, sealed, reports, ore, working uint64 }

func (t *reportTally) load(ctx context.Context, s *digger.Station, since uint64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen = map[string]uint64{}
	err := s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, "SELECT seq, sealed FROM assay_digger WHERE digger = ?", s.ID).Scan(&t.batches, &t.sealed)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		err = tx.QueryRowContext(ctx, "SELECT coalesce(sum(reports), 0), coalesce(sum(ore), 0) FROM digger_robot").Scan(&t.reports, &t.ore)
		if err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, "SELECT robot, seen FROM digger_robot WHERE seen >= ?", int64(since))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var robot string
			var seen uint64
			if err := rows.Scan(&robot, &seen); err != nil {
				return err
			}
			t.seen[robot] = seen
		}
		return rows.Err()
	})
	t.loaded = err == nil
	return err
}

// add counts a batch that is on disk.
func (t *reportTally) add(b proof.Batch, reports []proof.Report) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.loaded || b.Seq <= t.batches {
		return // what was on disk before load is counted by it
	}
	t.batches, t.sealed = b.Seq, b.Sealed
	t.reports += uint64(len(b.Entries))
	for i, entry := range b.Entries {
		t.ore += entry.Ore
		t.seen[reports[i].Robot] = b.Sealed
	}
}

// figures forgets the robots that were last seen before since.
func (t *reportTally) figures(since uint64) figures {
	t.mu.Lock()
	defer t.mu.Unlock()
	for robot, seen := range t.seen {
		if seen < since {
			delete(t.seen, robot)
		}
	}
	return figures{batches: t.batches, sealed: t.sealed, reports: t.reports, ore: t.ore, working: uint64(len(t.seen))}
}

// works tells whether a robot was seen since.
func (t *reportTally) works(robot string, since uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	seen, ok := t.seen[robot]
	return ok && seen >= since
}

func mark(ctx context.Context, tx *sql.Tx, name string) (uint64, error) {
	var v int64
	err := tx.QueryRowContext(ctx, "SELECT value FROM explorer_mark WHERE name = ?", name).Scan(&v)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return uint64(v), err
}

func setMark(ctx context.Context, tx *sql.Tx, name string, v uint64) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO explorer_mark (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, int64(v))
	return err
}

// chains remembers the last reports of each robot, since the newest are not in the
// packs until a pour covers them.
type chains struct {
	mu sync.Mutex
	of map[string]*tail
}

// tail is the end of a robot's chain, oldest first, and what stood before it.
type tail struct {
	before  merkle.Hash
	digests []merkle.Hash
}

// tailLength is more reports than wait for a pour as a rule.
const tailLength = 32

func (c *chains) add(robot string, digest, before merkle.Hash) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = map[string]*tail{}
	}
	t := c.of[robot]
	if t == nil {
		t = &tail{before: before}
		c.of[robot] = t
	}
	if t.digests = append(t.digests, digest); len(t.digests) > tailLength {
		t.before = t.digests[0]
		t.digests = slices.Delete(t.digests, 0, 1)
	}
}

// last lists the last reports of a robot that are known, oldest first.
func (c *chains) last(robot string) []merkle.Hash {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.of[robot]
	if t == nil {
		return nil
	}
	if t.before.IsZero() {
		return slices.Clone(t.digests)
	}
	return append([]merkle.Hash{t.before}, t.digests...)
}
