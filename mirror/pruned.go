package mirror

import (
	"context"
	"os"
	"path/filepath"

	"robotorq.org/reserve/archive"
)

// readPruned reads what was pruned of the mirror, and what the reserve says it
// pruned of its own packs.
func (p *pull) readPruned(ctx context.Context) error {
	var err error
	if p.ownPruned, err = archive.ReadPruned(filepath.Join(p.dir.dir, "packs")); err != nil {
		return &Error{Code: CodeLocal, Detail: "the mirror's own list of what was pruned is damaged", Err: err}
	}
	data, err := p.remote.small(ctx, packsPath+archive.PrunedFile, archive.MaxPruned)
	if isNotThere(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if p.theirPruned, err = archive.ParsePruned(data); err != nil {
		return &Error{Code: CodeCorrupt, File: packsPath + archive.PrunedFile, Detail: "the list of what was pruned is damaged", Err: err}
	}
	return nil
}

// stagePruned makes the reserve's list the mirror's own when a pack could be had no
// more. A mirror that has all packs has no use for it.
func (p *pull) stagePruned() error {
	if !p.adoptPruned.Load() {
		return nil
	}
	if !p.theirPruned.Continues(p.ownPruned) {
		return failf(CodePacks, packsPath+archive.PrunedFile, "the mirror was pruned by itself, and lacks packs that the reserve has pruned; pull into an empty directory")
	}
	return os.WriteFile(p.dir.stage("packs", archive.PrunedFile), p.theirPruned.Bytes(), 0o644)
}
