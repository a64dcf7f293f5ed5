package main

import (
	"context"
	"fmt"
	"time"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/mirror"
	"robotorq.org/reserve/node"
	"robotorq.org/reserve/torq"
)

type mirrorCmd struct {
	URL     string   `arg:"" help:"Address of the reserve's page."`
	Dir     string   `arg:"" placeholder:"DIR" help:"Where the copy lies; made if need be."`
	Root    []string `placeholder:"HEX" help:"Pin the charter's root (repeatable)."`
	Profile string   `hidden:""`
}

// Help is the long help with examples.
func (mirrorCmd) Help() string {
	return `The copy is checked as it comes, and a pull that was broken off goes on where
it was. A log that has forked or shrunk since the last pull is refused, and both
checkpoints are shown.

Examples:
  robotorq mirror http://127.0.0.1:8080 copy
  robotorq verify copy`
}

func (c *mirrorCmd) Run(ctx context.Context, std streams, g *global) error {
	roots, err := parseRoots(c.Root)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	bar := newProgress(std.Err, g.JSON)
	result, err := mirror.Pull(ctx, mirror.Options{URL: c.URL, Dir: c.Dir, Roots: roots, Clock: node.Clock{}, Progress: bar.at})
	bar.end()
	if err != nil {
		return err
	}
	if g.JSON {
		return writeJSON(std.Out, result)
	}
	fmt.Fprintf(std.Out, "%s mirrored in %s: %s, %s of them new; %s read in %s.\n", result.Origin, c.Dir,
		several(result.Size, "entry"), counted(result.Size-result.Before), bytesOf(result.Bytes), several(result.Requests, "request"))
	return nil
}

type proofPruneCmd struct {
	Data      string        `placeholder:"DIR" help:"Data directory or mirror (default: ${data})."`
	Level     string        `enum:"ingots,certificates" default:"ingots" help:"What is kept of the chosen certificates: ingots (no reports) or certificates (neither reports nor ingots)."`
	OlderThan time.Duration `placeholder:"DURATION" help:"Only certificates issued longer ago than this."`
	DryRun    bool          `help:"Say what would be freed, and change nothing."`
	Profile   string        `hidden:""`
}

// Help is the long help with examples.
func (proofPruneCmd) Help() string {
	return `Lowers the retention level of certificates. Nothing that a kept proof needs is
removed; what is gone is listed in packs/pruned and told by verify.

Examples:
  robotorq proof prune --level ingots --older-than 8760h --dry-run
  robotorq proof prune --level certificates --older-than 26280h`
}

func (c *proofPruneCmd) Run(ctx context.Context, std streams, g *global) error {
	dir := dataDir(c.Data)
	r, err := openReserve(dir, c.Profile)
	if err != nil {
		return err
	}
	o := archive.PruneOptions{Profile: r.profile, Level: archive.Level(c.Level), DryRun: c.DryRun}
	if c.OlderThan > 0 {
		o.Before = uint64(time.Now().Add(-c.OlderThan).UnixMilli())
	}
	result, err := archive.Prune(ctx, dir, o)
	if err != nil {
		return err
	}
	if g.JSON {
		return writeJSON(std.Out, result)
	}
	verb := "freed"
	if c.DryRun {
		verb = "would be freed"
	}
	fmt.Fprintf(std.Out, "%s %s: %s of %s, %s dropped and %s rewritten.\n", bytesOf(result.Bytes), verb,
		several(result.Records, "record"), several(result.Certificates, "certificate"), several(result.Dropped, "pack"), counted(result.Rewritten))
	return nil
}

// checkURL pulls a reserve into a temporary directory and verifies the copy.
func (c *verifyCmd) checkURL(ctx context.Context, std streams, g *global, roots []merkle.Hash, answer *verified) error {
	answer.Kind = "reserve"
	profile, err := torq.ProfileByName(orStandard(c.Profile))
	if err != nil {
		return err
	}
	bar := newProgress(std.Err, g.JSON)
	defer bar.end()
	sum, _, err := mirror.Verify(ctx, mirror.Options{URL: c.Path, Roots: roots, Clock: node.Clock{}, Progress: bar.at},
		archive.Options{Roots: roots, Profile: profile, Progress: bar.at})
	if err != nil {
		return err
	}
	answer.Directory, answer.Origin, answer.Pinned = &sum, sum.Origin, sum.Replay.Pinned
	return nil
}

// mirrorFault tells whether a pull failed because something is wrong with the log,
// and not because it could not be read.
func mirrorFault(err error) bool {
	for _, code := range []string{mirror.CodeForked, mirror.CodeShrank, mirror.CodeSignature, mirror.CodeCorrupt, mirror.CodePacks, mirror.CodePolicy} {
		if mirror.IsCode(err, code) {
			return true
		}
	}
	return false
}
