package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
	bearer "robotorq.org/reserve/wallet"
	"robotorq.org/reserve/wallet/purse"
)

type verifyCmd struct {
	Path          string   `arg:"" name:"file|dir" help:"A certificate's bundle, an ore proof, a bond, a data directory or a mirror of one, or the address of a reserve or mirror; - for standard input."`
	Root          []string `sep:"none" placeholder:"HEX" help:"Pin the charter to this root key (64 hex digits, repeatable)."`
	WitnessPolicy string   `type:"existingfile" placeholder:"FILE" help:"Demand the quorum of this C2SP tlog-policy file on the checkpoint."`
	Kept          string   `placeholder:"FILE" help:"Keep the last checkpoint of an address here, and demand that its log continues it."`
	Profile       string   `hidden:""`

	demands demands
}

// Help is the long help with examples.
func (verifyCmd) Help() string {
	return `Everything is derived again from the artefacts, offline: signatures, trees, ore,
certificates, the log. Without --root the charter's root is taken as it is found,
and its pin is printed to be compared with one that came another way.

Exits 0 when all of it holds, 1 when something is wrong, which is named, and 2
when it could not be checked.

Examples:
  robotorq verify /var/lib/robotorq
  robotorq verify https://reserve.example --kept reserve.checkpoint
  robotorq verify certificate-1.json --root 3f6c…
  robotorq verify ore.json --json`
}

// unpinned warns of a check that hangs on nothing from outside.
const unpinned = "no --root was given, so the charter's root is taken as it was found"

// verified is the answer of `verify`.
type verified struct {
	OK        bool                      `json:"ok"`
	Kind      string                    `json:"kind"` // directory, certificate, ore, bond or reserve (at an address)
	Origin    string                    `json:"origin,omitempty"`
	Pinned    bool                      `json:"pinned"`
	Roots     []rootPin                 `json:"roots"`
	Live      bool                      `json:"live,omitempty"` // a reserve is writing it
	Directory *archive.Summary          `json:"directory,omitempty"`
	Files     []archive.Coverage        `json:"files,omitempty"` // of a data directory: what is checked by what
	Bond      *bearer.BondSummary       `json:"bond,omitempty"`
	Artefact  *proof.CertificateSummary `json:"artefact,omitempty"`
	Fault     *faultJSON                `json:"fault,omitempty"`
	Warnings  []string                  `json:"warnings"`
}

// rootPin is a root key of a charter, as --root takes it.
type rootPin = purse.Root

// faultJSON is what was found wrong.
type faultJSON struct {
	Artefact string `json:"artefact"`
	Digest   string `json:"digest,omitempty"`
	Rule     string `json:"rule"`
	Detail   string `json:"detail"`
}

func faultOf(f *proof.Fault) *faultJSON {
	j := &faultJSON{Artefact: f.Artefact, Rule: f.Rule, Detail: f.Detail}
	if !f.Digest.IsZero() {
		j.Digest = f.Digest.String()
	}
	return j
}

func (c *verifyCmd) Run(ctx context.Context, std streams, g *global) error {
	roots, err := parseRoots(c.Root)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	if c.Kept != "" && !isURL(c.Path) {
		return &exitError{exitUsage, errors.New("--kept goes with an address: a directory keeps its own checkpoint")}
	}
	demands, err := readDemands(c.WitnessPolicy)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	c.demands = demands
	answer, err := c.check(ctx, std, g, roots)
	f := proof.AsFault(err)
	if f == nil && mirrorFault(err) {
		f = &proof.Fault{Artefact: "log at " + c.Path, Rule: errorCode(err), Detail: err.Error()}
		err = f
	}
	if err != nil && f == nil {
		return &exitError{exitUsage, fmt.Errorf("%s could not be checked: %w", c.Path, err)}
	}
	answer.OK = f == nil
	if len(roots) == 0 && f == nil {
		answer.Warnings = append(answer.Warnings, unpinned)
	}
	if f != nil {
		answer.Fault = faultOf(f)
	}
	if g.JSON {
		if err := writeJSON(std.Out, answer); err != nil {
			return err
		}
	} else if f == nil {
		answer.print(std)
	}
	if f != nil {
		return answered{fmt.Errorf("%s: %w", c.Path, err)}
	}
	return nil
}

// check verifies whatever lies at the path. An error that is no fault means that
// it could not be checked.
func (c *verifyCmd) check(ctx context.Context, std streams, g *global, roots []merkle.Hash) (verified, error) {
	answer := verified{Roots: []rootPin{}, Warnings: []string{}}
	if isURL(c.Path) {
		return answer, c.checkURL(ctx, std, g, roots, &answer)
	}
	if c.Path != "-" {
		info, err := os.Stat(c.Path)
		if err != nil {
			return answer, err
		}
		if info.IsDir() {
			return answer, c.checkDir(ctx, std, g, roots, &answer)
		}
	}
	data, err := readInput(std, c.Path)
	if err != nil {
		return answer, err
	}
	profile, err := torq.ProfileByName(orStandard(c.Profile))
	if err != nil {
		return answer, err
	}
	return answer, c.demands.checkFile(data, proof.VerifyOptions{Profile: profile, Roots: roots}, &answer)
}

func (d demands) checkFile(data []byte, opts proof.VerifyOptions, answer *verified) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return &proof.Fault{Artefact: "file", Rule: "form", Detail: "not a JSON document: " + err.Error()}
	}
	if _, dsse := members["payloadType"]; dsse {
		return errors.New("a single signed artefact says nothing by itself: verify the bundle (`robotorq proof export`) or the directory that it belongs to")
	}
	if _, bond := members["robotorq_bond"]; bond {
		return d.checkBond(data, opts, answer)
	}
	if _, ore := members["unit"]; ore {
		answer.Kind = "ore"
		p, err := proof.DecodeOreProof(data)
		if err != nil {
			return &proof.Fault{Artefact: "ore proof", Rule: "form", Detail: err.Error()}
		}
		sum, err := p.Verify(opts)
		if err == nil {
			err = d.met([]byte(p.Log.Checkpoint))
		}
		return answer.proven(sum, p.Charters, err)
	}
	answer.Kind = "certificate"
	b, err := proof.DecodeBundle(data)
	if err != nil {
		return &proof.Fault{Artefact: "certificate bundle", Rule: "form", Detail: err.Error()}
	}
	sum, err := b.Verify(opts)
	if err == nil {
		err = d.met([]byte(b.Log.Checkpoint))
	}
	return answer.proven(sum, b.Charters, err)
}

// checkBond checks a bearer bond's file.
func (d demands) checkBond(data []byte, opts proof.VerifyOptions, answer *verified) error {
	answer.Kind = "bond"
	f, err := bearer.DecodeBondFile(data)
	if err != nil {
		return &proof.Fault{Artefact: "bond file", Rule: "form", Detail: err.Error()}
	}
	sum, err := bearer.CheckBond(f, bearer.CheckOptions{Roots: opts.Roots, Profile: opts.Profile})
	for _, v := range f.Bonds {
		if err == nil {
			err = d.met([]byte(v.Log.Checkpoint))
		}
	}
	if err != nil {
		return err
	}
	answer.Bond, answer.Origin, answer.Pinned = &sum, sum.Origin, sum.Pinned
	answer.Roots, err = purse.RootsOf(f.Charters)
	return err
}

func (v *verified) proven(sum proof.CertificateSummary, charters []seal.Envelope, err error) error {
	if err != nil {
		return err
	}
	v.Artefact, v.Origin, v.Pinned = &sum, sum.Origin, sum.Pinned
	v.Roots, err = purse.RootsOf(charters)
	return err
}

func (c *verifyCmd) checkDir(ctx context.Context, std streams, g *global, roots []merkle.Hash, answer *verified) error {
	answer.Kind = "directory"
	r, err := openReserve(c.Path, c.Profile)
	if err != nil {
		return identityFault(c.Path, err)
	}
	answer.Live = r.inUse()
	bar := newProgress(std.Err, g.JSON)
	defer bar.end()
	sum, err := archive.VerifyDir(ctx, c.Path, archive.Options{Roots: roots, Profile: r.profile, Live: answer.Live, Progress: bar.at})
	if err != nil {
		return err
	}
	answer.Directory, answer.Origin, answer.Pinned = &sum, sum.Origin, sum.Replay.Pinned
	if r.origin != "" && r.origin != sum.Origin {
		return &proof.Fault{Artefact: "reserve.json", Rule: "origin", Detail: fmt.Sprintf("says %s, the log and the charter are those of %s", r.origin, sum.Origin)}
	}
	signed, err := archive.OpenLog(os.DirFS(r.path("log"))).Checkpoint()
	if err == nil {
		err = c.demands.met(signed)
	}
	if err != nil {
		return err
	}
	if r.origin != "" { // a mirror has log and packs, and nothing else
		if answer.Files, err = archive.Cover(ctx, c.Path, answer.Live); err != nil {
			return err
		}
	}
	charters, err := r.charters()
	if err != nil {
		return err
	}
	answer.Roots, err = purse.RootsOf(charters)
	return err
}

func (v *verified) print(std streams) {
	switch {
	case v.Directory != nil:
		v.printDirectory(std)
	case v.Bond != nil:
		v.printBond(std)
	default:
		v.printArtefact(std)
	}
	if !v.Pinned {
		fmt.Fprintln(std.Err, "Note: "+unpinned+". Compare the pin above with one that you have from elsewhere.")
	}
}

func (v *verified) printDirectory(std streams) {
	s, r := v.Directory, v.Directory.Replay
	fmt.Fprintf(std.Out, "%s holds.\n", s.Origin)
	t := table(std.Out)
	fmt.Fprintf(t, "  log\t%s, root %s\n", several(s.Size, "entry"), s.Root)
	fmt.Fprintf(t, "  documents\t%s, %s, %s\n", several(r.Charters, "charter"), several(r.Enrolments, "enrolment"), several(r.Contracts, "contract"))
	fmt.Fprintf(t, "  work\t%s in %s (%s void), %s ore\n", several(r.Reports, "report"), several(r.Batches, "batch"), counted(r.Void), counted(r.Ore))
	fmt.Fprintf(t, "  ingots\t%s in %s\n", counted(r.Ingots), several(r.Pours, "pour"))
	fmt.Fprintf(t, "  certificates\t%s in %s\n", counted(r.Certificates), several(r.Runs, "run"))
	for _, c := range s.Classes {
		fmt.Fprintf(t, "  packs/%s\t%s, %s\n", c.Class, several(c.Records, "record"), bytesOf(c.FileBytes))
	}
	printRoots(t, v.Roots, v.Pinned)
	for _, f := range v.Files {
		how := "checked: "
		if !f.Checked {
			how = "not checked: "
		}
		fmt.Fprintf(t, "  %s\t%s, %s; %s%s\n", f.Kind, several(f.Files, "file"), bytesOf(uint64(f.Bytes)), how, f.By)
	}
	t.Flush()
	if s.Unpublished > 0 || r.Waiting > 0 || s.Uncovered > 0 {
		fmt.Fprintf(std.Out, "On their way: %s beyond the checkpoint, %s without a run, %s without a pour.\n",
			counted(s.Unpublished), several(r.Waiting, "certificate"), several(s.Uncovered, "batch"))
	}
	if len(s.Residue) > 0 {
		fmt.Fprintf(std.Out, "Left by a crash or being written, without meaning: %d (named by --json).\n", len(s.Residue))
	}
	if v.Live {
		fmt.Fprintln(std.Out, "The reserve is running: what it is writing just now was let pass. Stop it for a check to the last byte.")
	}
}

func (v *verified) printBond(std streams) {
	b := v.Bond
	fmt.Fprintf(std.Out, "Bond %s of %s holds: %s RT to its bearer, as far as this file knows.\n", counted(b.Serial), b.Origin, counted(b.Face))
	t := table(std.Out)
	fmt.Fprintf(t, "  digest\t%s\n", b.Digest)
	fmt.Fprintf(t, "  issued\t%s by %s, version %d\n", localTime(b.Issued), b.Mint, b.Versions)
	fmt.Fprintf(t, "  backed by\t%s\n", several(len(b.Certificates), "certificate"))
	fmt.Fprintf(t, "  log\tentry %s of %s\n", counted(b.LogIndex), counted(b.LogSize))
	printRoots(t, v.Roots, v.Pinned)
	t.Flush()
	fmt.Fprintln(std.Out, "Whether it has been redeemed or reissued since is the reserve's to answer: robotorq bond check.")
}

func (v *verified) printArtefact(std streams) {
	s := v.Artefact
	if v.Kind == "ore" {
		fmt.Fprintf(std.Out, "One unit of ore of certificate %s of %s holds.\n", counted(s.Serial), s.Origin)
	} else {
		fmt.Fprintf(std.Out, "Certificate %s of %s holds: 1 RT, %s ore derived again.\n", counted(s.Serial), s.Origin, counted(s.Ore))
	}
	t := table(std.Out)
	fmt.Fprintf(t, "  digest\t%s\n", s.Digest)
	fmt.Fprintf(t, "  issued\t%s by %s\n", localTime(s.Issued), s.Mint)
	fmt.Fprintf(t, "  work\t%s, read from %s to %s\n", several(s.Reports, "report"), localTime(s.First), localTime(s.Last))
	if v.Kind == "certificate" {
		fmt.Fprintf(t, "  ingots\t%s\n", counted(s.Ingots))
	}
	fmt.Fprintf(t, "  log\tentry %s of %s\n", counted(s.LogIndex), counted(s.LogSize))
	printRoots(t, v.Roots, v.Pinned)
	t.Flush()
}

func printRoots(t interface{ Write([]byte) (int, error) }, roots []rootPin, pinned bool) {
	how := "as found"
	if pinned {
		how = "pinned"
	}
	for _, r := range roots {
		fmt.Fprintf(t, "  root %s\t%s (%s)\n", r.Name, r.Pin, how)
	}
}

// parseRoots reads the values of --root.
func parseRoots(texts []string) ([]merkle.Hash, error) {
	var roots []merkle.Hash
	for _, text := range texts {
		h, err := merkle.ParseHash(strings.ToLower(strings.TrimSpace(text)))
		if err != nil {
			return nil, fmt.Errorf("--root %q: a pin is 64 hex digits, as `robotorq charter show` prints it", text)
		}
		roots = append(roots, h)
	}
	return roots, nil
}

func orStandard(profile string) string {
	if profile == "" {
		return "standard"
	}
	return profile
}

// inUse tells whether a reserve holds the directory's lock.
func inUse(dir string) bool {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDONLY, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

// identityFault tells a reserve.json that is there and damaged from a directory that
// cannot be checked: one that is no reserve's, or of a profile of test builds.
func identityFault(dir string, err error) error {
	data, missing := os.ReadFile(filepath.Join(dir, "reserve.json"))
	if missing != nil || strings.Contains(string(data), `"tiny"`) {
		return err
	}
	return &proof.Fault{Artefact: "reserve.json", Rule: "form", Detail: err.Error()}
}
