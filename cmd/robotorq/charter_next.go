package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/node"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/strictjson"
)

type charterNextCmd struct {
	Data      string        `placeholder:"DIR" help:"Data directory (default: ${data})."`
	Renew     []string      `placeholder:"NAME" help:"Give this service new keys: digger, refinery, mint, vault, trust, registrar, log, or all (repeatable)."`
	End       []string      `placeholder:"NAME|KEYID" help:"End all keys of a name, or one key, without others in their place (repeatable)."`
	Leaked    bool          `help:"Somebody else has, or may have, a key that ends: it ends now. The reserve must be stopped, and stay so until the version is adopted."`
	Overlap   time.Duration `default:"168h" help:"How long the old keys stay valid, so that the version can go around for signatures while the reserve works."`
	ValidFor  time.Duration `placeholder:"DURATION" help:"The new keys end by themselves after this long (default: without an end)."`
	AddRoot   []string      `name:"add-root" placeholder:"FILE" help:"Add the root signer of this file, from charter root (repeatable)."`
	Threshold uint64        `help:"How many root signers the versions after this one need (default: as it is)."`
	Key       []string      `placeholder:"FILE" help:"Key file of a root that signs at once (default: root/root.json of the data directory, if it is there; repeatable)."`
	Again     bool          `help:"Put another draft in the place of one that is there."`
	Adopt     bool          `help:"Adopt it at once, if the signatures suffice; the reserve must be stopped."`
	Out       string        `placeholder:"FILE" help:"Write the file that goes around for signatures here too."`
}

// Help is the long help with examples.
func (charterNextCmd) Help() string {
	return `Makes the next version of the charter: new keys for services, ends of keys, other roots. The
new keys are made in keys/next of the data directory, where nothing uses them yet; the
version is signed by the root keys at hand and written to a file. Others sign it with
robotorq charter sign, on machines of their own; robotorq charter adopt brings it into the
reserve. Until then nothing has changed.

A key that is merely old: make the version while the reserve works, stop the reserve, adopt,
start it again. A key that is lost: the same; what was signed with it stays valid.
A key that may be in other hands: stop the reserve first and say --leaked.

Examples:
  robotorq charter next --renew refinery --renew mint --data /var/lib/robotorq
  robotorq charter next --renew all --valid-for 17520h --key /media/safe/root.json --adopt
  robotorq charter next --renew vault --leaked --key /media/safe/root.json --adopt
  robotorq charter next --add-root root-2.pub --threshold 2`
}

// passedOn is the answer of charter next and charter sign.
type passedOn struct {
	File     string        `json:"file"`
	Origin   string        `json:"origin"`
	Version  uint64        `json:"version"`
	Digest   merkle.Hash   `json:"digest"`
	Issued   uint64        `json:"issued_ms"`
	Changes  []seal.Change `json:"changes"`
	Before   seal.Quorum   `json:"signed_by_version_before"`
	Own      seal.Quorum   `json:"signed_by_own"`
	Complete bool          `json:"complete"`
	Pinned   bool          `json:"pinned"`
	Adopted  bool          `json:"adopted"`
	Renewed  []string      `json:"renewed,omitempty"` // whose key files were replaced
}

func (c *charterNextCmd) Run(ctx context.Context, std streams, g *global) error {
	dir := dataDir(c.Data)
	want := node.NextCharter{
		Renew: c.Renew, End: c.End, Leaked: c.Leaked, Overlap: c.Overlap, ValidFor: c.ValidFor, Threshold: c.Threshold, Again: c.Again,
	}
	if c.Overlap < 0 || c.ValidFor < 0 {
		return &exitError{exitUsage, errors.New("--overlap and --valid-for are lengths of time, for example 168h")}
	}
	for _, file := range c.AddRoot {
		root, err := readPublicRoot(std, file)
		if err != nil {
			return err
		}
		want.Roots = append(want.Roots, root)
	}
	roots, err := c.signers(std, dir)
	if err != nil {
		return err
	}
	s, err := node.DraftCharter(ctx, dir, os.Getenv(passphraseVariable), want, time.Now())
	if err != nil {
		return err
	}
	chain, err := seal.VerifyCharterChain(s.Charters, nil)
	if err != nil {
		return err
	}
	for _, root := range roots {
		if err := s.Sign(chain, root); err != nil {
			return err
		}
	}
	answer, err := describe(chain, s)
	if err != nil {
		return err
	}
	answer.File = node.DraftFile(dir, answer.Version)
	files := []string{answer.File}
	if c.Out != "" {
		answer.File = c.Out
		files = append(files, c.Out)
	}
	for _, file := range files {
		if err := node.WriteSuccession(file, s); err != nil {
			return err
		}
	}
	if c.Adopt {
		return adopt(ctx, std, g, dir, s, answer)
	}
	return answer.print(std, g)
}

// signers are the roots that sign at once.
func (c *charterNextCmd) signers(std streams, dir string) (roots []*seal.Signer, err error) {
	files := c.Key
	if len(files) == 0 {
		own := filepath.Join(dir, "root", "root.json")
		if _, err := os.Stat(own); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		files = []string{own}
	}
	for _, file := range files {
		root, err := readKeys(std, file)
		if err != nil {
			return nil, err
		}
		roots = append(roots, root)
	}
	return roots, nil
}

// describe says what a succession is and how far it is signed.
func describe(chain *seal.CharterChain, s seal.Succession) (p passedOn, err error) {
	st, err := s.Stand(chain)
	if err != nil {
		return p, err
	}
	return passedOn{
		Origin: st.Next.Name, Version: st.Next.Version, Digest: s.Next.Digest(), Issued: st.Next.IssuedMS,
		Changes: seal.Changes(st.Previous.Charter, st.Next), Before: st.Before, Own: st.Own, Complete: st.Met(), Pinned: st.Pinned,
	}, nil
}

func (p passedOn) print(std streams, g *global) error {
	if g.JSON {
		return writeJSON(std.Out, p)
	}
	fmt.Fprintf(std.Out, "Charter of %s, version %d, issued %s\n\n", p.Origin, p.Version, localTime(p.Issued))
	t := table(std.Out)
	for _, change := range p.Changes {
		fmt.Fprintln(t, changeText(change))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(std.Out, "\nSigned for version %d by %s of %d, for its own threshold by %s of %d.\n", p.Version-1, joined(p.Before.Signers), p.Before.Needed, joined(p.Own.Signers), p.Own.Needed)
	switch {
	case p.Adopted && len(p.Renewed) > 0:
		fmt.Fprintf(std.Out, "Adopted. New keys are in place for %s; the old ones lie in keys/ended. Start the reserve: it logs this version first.\n", joined(p.Renewed))
	case p.Adopted:
		fmt.Fprintln(std.Out, "Adopted. Start the reserve: it logs this version first.")
	case p.Complete:
		fmt.Fprintf(std.Out, "That is enough. Stop the reserve and run: robotorq charter adopt %s\n", p.File)
	default:
		fmt.Fprintf(std.Out, "More roots must sign: robotorq charter sign %s --key ROOTKEY\n", p.File)
	}
	return nil
}

// changeText is one difference, in columns.
func changeText(c seal.Change) string {
	switch c.What {
	case "threshold":
		return fmt.Sprintf("threshold\t%d roots, before %d", c.To, c.From)
	case "algorithms":
		return fmt.Sprintf("algorithms\t%s signs with %s, before with %s", c.Role, strings.Join(c.Is, " + "), strings.Join(c.Was, " + "))
	case "key_added":
		return fmt.Sprintf("new key\t%s\t%s\t%s\t%s\t%s", c.Key.KeyID, c.Key.Role, c.Key.Name, c.Key.Alg, validity(*c.Key))
	}
	return fmt.Sprintf("ends\t%s\t%s\t%s\t%s\t%s", c.Key.KeyID, c.Key.Role, c.Key.Name, c.Key.Alg, localTime(*c.Key.NotAfterMS))
}

type charterSignCmd struct {
	File string   `arg:"" help:"File of charter next."`
	Key  string   `required:"" placeholder:"FILE" help:"Key file of a root."`
	Root []string `sep:"none" placeholder:"HEX" help:"Pin the charter to this root key (64 hex digits, repeatable)."`
}

// Help is the long help with an example.
func (charterSignCmd) Help() string {
	return `Checks the versions so far and the next one, shows what changes, and adds a root's
signature to the file. No reserve and no network is needed. What a root signs may take
every key away from the reserve: read it, and compare the pin of the root.

Example:
  robotorq charter sign charter-2.draft --key /media/safe/root-2.json --root 3f0c…`
}

func (c *charterSignCmd) Run(std streams, g *global) error {
	pins, err := parseRoots(c.Root)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	s, chain, err := readSuccession(std, c.File, pins)
	if err != nil {
		return err
	}
	root, err := readKeys(std, c.Key)
	if err != nil {
		return err
	}
	if err := s.Sign(chain, root); err != nil {
		return err
	}
	answer, err := describe(chain, s)
	if err != nil {
		return err
	}
	answer.File = c.File
	if err := node.WriteSuccession(c.File, s); err != nil {
		return err
	}
	return answer.print(std, g)
}

// readSuccession reads a file of charter next and checks the versions in it.
func readSuccession(std streams, file string, pins []merkle.Hash) (s seal.Succession, chain *seal.CharterChain, err error) {
	data, err := readInput(std, file)
	if err != nil {
		return s, nil, err
	}
	if s, err = seal.DecodeSuccession(data); err != nil {
		return s, nil, fmt.Errorf("%s: %w", file, err)
	}
	if chain, err = seal.VerifyCharterChain(s.Charters, pins); err != nil {
		return s, nil, fmt.Errorf("%s: %w", file, err)
	}
	return s, chain, nil
}

type charterAdoptCmd struct {
	File string `arg:"" optional:"" help:"File of charter next with all signatures (default: the draft in the data directory)."`
	Data string `placeholder:"DIR" help:"Data directory (default: ${data})."`
}

// Help is the long help with examples.
func (charterAdoptCmd) Help() string {
	return `Checks the version as every verifier will: that it follows the one here, drops no key, and is
signed by both thresholds; and that every service has a key here to go on with. Then it
takes effect: the new key files take the place of the old ones, which are kept in keys/ended,
and the next start logs the version before anything that is signed with the new keys. The
reserve is stopped meanwhile. Cut off half-way, the same command or the next start finishes
it.

Examples:
  robotorq charter adopt --data /var/lib/robotorq
  robotorq charter adopt charter-2.draft --data /var/lib/robotorq`
}

func (c *charterAdoptCmd) Run(ctx context.Context, std streams, g *global) error {
	dir := dataDir(c.Data)
	file := c.File
	if file == "" {
		charters, err := node.Charters(ctx, dir)
		if err != nil {
			return err
		}
		if file, err = waitingDraft(dir, uint64(len(charters))); err != nil {
			return err
		}
	}
	s, chain, err := readSuccession(std, file, nil)
	if err != nil {
		return err
	}
	answer, err := describe(chain, s)
	if err != nil {
		return err
	}
	answer.File = file
	return adopt(ctx, std, g, dir, s, answer)
}

// waitingDraft is the draft of the version after the newest one, or of the newest one
// itself when its adoption was cut off.
func waitingDraft(dir string, newest uint64) (string, error) {
	for _, version := range []uint64{newest + 1, newest} {
		file := node.DraftFile(dir, version)
		_, err := os.Stat(file)
		if !errors.Is(err, fs.ErrNotExist) {
			return file, err
		}
	}
	return "", &exitError{exitUsage, fmt.Errorf("there is no draft of version %d in %s: make one with robotorq charter next", newest+1, dir)}
}

func adopt(ctx context.Context, std streams, g *global, dir string, s seal.Succession, answer passedOn) error {
	done, err := node.AdoptCharter(ctx, dir, os.Getenv(passphraseVariable), s, node.Clock{})
	if err != nil {
		return err
	}
	answer.Adopted, answer.Renewed = true, done.Renewed
	return answer.print(std, g)
}

type charterRootCmd struct {
	Name string `arg:"" help:"Name of the root signer, for example root-2."`
	Out  string `required:"" placeholder:"FILE" help:"New file for the private key."`
}

// Help is the long help with an example.
func (charterRootCmd) Help() string {
	return `Makes the keys of another root signer, wherever that one keeps them: a private file, and
beside it FILE.pub with the public half for robotorq charter next --add-root. Set
ROBOTORQ_PASSPHRASE to encrypt the private one.

Example:
  robotorq charter root root-2 --out /media/safe/root-2.json`
}

// publicRoot is the file that charter root writes for others.
type publicRoot struct {
	Name string          `json:"name"`
	Role string          `json:"role"`
	Keys []publicRootKey `json:"keys"`
}

type publicRootKey struct {
	Alg    string `json:"alg"`
	Public []byte `json:"public"`
}

func (c *charterRootCmd) Run(std streams, g *global) error {
	if !seal.ValidID(c.Name) {
		return &exitError{exitUsage, fmt.Errorf("%q cannot be a name: it has lower-case letters, digits and '-', at most 63", c.Name)}
	}
	root, err := seal.NewSigner(c.Name, seal.RoleRoot)
	if err != nil {
		return err
	}
	if err := seal.WriteKeyFile(c.Out, os.Getenv(passphraseVariable), root); err != nil {
		return err
	}
	file := publicRoot{Name: root.Name, Role: root.Role}
	var pin merkle.Hash
	for _, k := range root.Keys {
		file.Keys = append(file.Keys, publicRootKey{k.Alg, k.Public})
		if k.Alg == seal.SLHDSA128s {
			pin = seal.KeyHash(k.Alg, k.Public)
		}
	}
	text, err := json.MarshalIndent(file, "", "  ")
	if err == nil {
		err = os.WriteFile(c.Out+".pub", append(text, '\n'), 0o644)
	}
	if err != nil {
		return err
	}
	if g.JSON {
		return writeJSON(std.Out, map[string]any{"name": c.Name, "file": c.Out, "public": c.Out + ".pub", "pin": pin})
	}
	_, err = fmt.Fprintf(std.Out, "Root %s: private key %s, public half %s.pub\npin %s\n", c.Name, c.Out, c.Out, pin)
	return err
}

// readPublicRoot reads the public half of a root signer.
func readPublicRoot(std streams, path string) (*seal.Signer, error) {
	data, err := readInput(std, path)
	if err != nil {
		return nil, err
	}
	var file publicRoot
	if err := strictjson.Decode(data, &file); err != nil {
		return nil, fmt.Errorf("%s is not the public half of a root, as charter root writes it: %w", path, err)
	}
	root := &seal.Signer{Name: file.Name, Role: file.Role}
	for _, k := range file.Keys {
		root.Keys = append(root.Keys, &seal.PrivateKey{Alg: k.Alg, Public: k.Public})
	}
	return root, nil
}
