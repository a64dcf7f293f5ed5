package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/mirror"
	"robotorq.org/reserve/node"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/wallet/purse"
	"robotorq.org/reserve/witness"
)

type mirrorCmd struct {
	URL           string        `arg:"" help:"Address of the reserve's page."`
	Dir           string        `arg:"" placeholder:"DIR" help:"Where the copy lies; made if need be."`
	Root          []string      `sep:"none" placeholder:"HEX" help:"Pin the charter's root (repeatable)."`
	WitnessPolicy string        `type:"existingfile" placeholder:"FILE" help:"Take only checkpoints with the quorum of this C2SP tlog-policy file."`
	Every         time.Duration `placeholder:"DURATION" help:"Go on, and pull again after each pause of this length."`
	Serve         string        `placeholder:"HOST:PORT" help:"Serve the copy at this address meanwhile, as the reserve does; port 0 picks a free one."`
	Profile       string        `hidden:""`
}

// Help is the long help with examples.
func (mirrorCmd) Help() string {
	return `The copy is checked as it comes, and a pull that was broken off goes on where
it was. A log that has forked or shrunk since the last pull is refused, and both
checkpoints are shown.

With --every the mirror stays; a reserve that does not answer is asked again, a log
that forked ends it with exit 1. With --serve others may mirror the copy, and the
reserve itself may ask it after a restore (up --mirror).

Examples:
  robotorq mirror http://127.0.0.1:8080 copy
  robotorq verify copy
  robotorq mirror https://reserve.example copy --every 1m --serve 127.0.0.1:8081`
}

func (c *mirrorCmd) Run(ctx context.Context, std streams, g *global) error {
	roots, err := parseRoots(c.Root)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	d, err := readDemands(c.WitnessPolicy)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	o := mirror.Options{URL: c.URL, Dir: c.Dir, Roots: roots, Clock: node.Clock{}, Accept: d.accept()}
	if c.Serve == "" {
		return c.pull(ctx, std, g, o)
	}
	if c.Every <= 0 {
		return &exitError{exitUsage, errors.New("--serve goes with --every: a copy that is served must be kept up")}
	}
	listener, err := net.Listen("tcp", c.Serve)
	if err != nil {
		return fmt.Errorf("the copy cannot be served: %w (choose another address with --serve)", err)
	}
	fmt.Fprintf(std.Err, "The copy is served at http://%s\n", listener.Addr())
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan error, 1)
	go func() {
		served <- serveUntil(ctx, listener, mirror.Handler(os.DirFS(filepath.Join(c.Dir, "log")), os.DirFS(filepath.Join(c.Dir, "packs"))))
		cancel()
	}()
	err = c.pull(ctx, std, g, o)
	cancel()
	return errors.Join(err, <-served)
}

// pull pulls once, or again and again until ctx ends.
func (c *mirrorCmd) pull(ctx context.Context, std streams, g *global, o mirror.Options) error {
	for {
		err := c.once(ctx, std, g, o)
		passing := mirror.IsCode(err, mirror.CodeReach) || mirror.IsCode(err, mirror.CodeMissing) || mirror.IsCode(err, mirror.CodeBusy)
		switch {
		case c.Every > 0 && ctx.Err() != nil:
			return nil
		case c.Every <= 0 || err != nil && !passing:
			return err
		case err != nil:
			fmt.Fprintf(std.Err, "robotorq: %s; asking again in %s\n", printable(err.Error()), c.Every)
		}
		over, stop := node.Clock{}.NewTimer(c.Every)
		select {
		case <-over:
		case <-ctx.Done():
		}
		stop()
		if ctx.Err() != nil {
			return nil
		}
	}
}

func (c *mirrorCmd) once(ctx context.Context, std streams, g *global, o mirror.Options) error {
	bar := newProgress(std.Err, g.JSON)
	o.Progress = bar.at
	result, err := mirror.Pull(ctx, o)
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
	o := mirror.Options{URL: c.Path, Roots: roots, Clock: node.Clock{}, Accept: c.demands.accept()}
	if c.Kept != "" {
		if o.Seen, err = os.ReadFile(c.Kept); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	bar := newProgress(std.Err, g.JSON)
	defer bar.end()
	o.Progress = bar.at
	if o.Dir, err = os.MkdirTemp("", "robotorq-verify-"); err != nil {
		return err
	}
	defer os.RemoveAll(o.Dir)
	sum, result, err := mirror.Verify(ctx, o, archive.Options{Roots: roots, Profile: profile, Progress: bar.at})
	if err != nil {
		if e := new(mirror.Error); errors.As(err, &e) {
			e.Evidence = "" // it goes with the directory
		}
		return err
	}
	answer.Directory, answer.Origin, answer.Pinned = &sum, sum.Origin, sum.Replay.Pinned
	copied, err := openReserve(o.Dir, c.Profile)
	if err != nil {
		return err
	}
	charters, err := copied.charters()
	if err != nil {
		return err
	}
	if answer.Roots, err = purse.RootsOf(charters); err != nil {
		return err
	}
	if c.Kept == "" {
		return nil
	}
	return replaceFile(c.Kept, result.Signed, 0o644)
}

func isURL(path string) bool {
	return strings.HasPrefix(path, "http://") || strings.HasPrefix(path, "https://")
}

// demands are what a checkpoint must carry beside the log's own signatures; the
// zero value demands nothing.
type demands struct{ policy *witness.Policy }

// readDemands reads a --witness-policy, "" for none.
func readDemands(file string) (demands, error) {
	if file == "" {
		return demands{}, nil
	}
	p, err := readWitnessPolicy(file)
	return demands{&p}, err
}

// met checks a signed checkpoint.
func (d demands) met(signed []byte) error {
	if d.policy == nil {
		return nil
	}
	if err := d.policy.Check(signed); err != nil {
		return &proof.Fault{Artefact: "log/" + archive.CheckpointFile, Rule: "witness_policy", Detail: err.Error()}
	}
	return nil
}

// accept is met as a mirror asks for it.
func (d demands) accept() func([]byte) error {
	if d.policy == nil {
		return nil
	}
	return d.policy.Check
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
