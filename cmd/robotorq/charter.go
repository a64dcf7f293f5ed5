package main

import (
	"fmt"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/wallet/purse"
)

type charterCmd struct {
	Show  charterShowCmd  `cmd:"" help:"Show every version, the keys and the roots with their pins."`
	Next  charterNextCmd  `cmd:"" help:"Make the next version: new keys for services, ends of keys, other roots."`
	Sign  charterSignCmd  `cmd:"" help:"Sign the next version with a root key."`
	Adopt charterAdoptCmd `cmd:"" help:"Bring the next version into a reserve that is stopped."`
	Root  charterRootCmd  `cmd:"" help:"Make the keys of another root signer."`
}

type charterShowCmd struct {
	Data    string   `placeholder:"DIR" help:"Data directory (default: ${data})."`
	Root    []string `sep:"none" placeholder:"HEX" help:"Pin the charter to this root key (64 hex digits, repeatable)."`
	Profile string   `hidden:""`
}

// Help is the long help with an example.
func (charterShowCmd) Help() string {
	return `The chain of versions is verified. A root's pin is what --root takes: give it to others
on paper, so that they can tell this reserve from a forged one.

Examples:
  robotorq charter show --data /var/lib/robotorq
  robotorq charter show --json`
}

// shownCharter is the answer of `charter show`.
type shownCharter struct {
	Origin   string         `json:"origin"`
	Pinned   bool           `json:"pinned"`
	Versions []shownVersion `json:"versions"`
	Roots    []rootPin      `json:"roots"`
	Keys     []seal.Key     `json:"keys"` // of the newest version
}

type shownVersion struct {
	Version   uint64      `json:"version"`
	Digest    merkle.Hash `json:"digest"`
	Issued    uint64      `json:"issued_ms"`
	Threshold uint64      `json:"threshold"`
	Signers   []string    `json:"signers"`
}

func (c *charterShowCmd) Run(std streams, g *global) error {
	roots, err := parseRoots(c.Root)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	r, err := openReserve(dataDir(c.Data), c.Profile)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	charters, err := r.charters()
	if err != nil {
		return err
	}
	if len(charters) == 0 {
		return fmt.Errorf("the log in %s holds no charter yet: start the reserve once", r.dir)
	}
	chain, err := seal.VerifyCharterChain(charters, roots)
	if err != nil {
		return err
	}
	newest := chain.Latest()
	shown := shownCharter{Origin: newest.Name, Pinned: chain.Pinned(), Keys: newest.Keys}
	for _, v := range chain.Versions() {
		shown.Versions = append(shown.Versions, shownVersion{v.Version, v.Digest, v.IssuedMS, v.Threshold, v.Roots})
	}
	if shown.Roots, err = purse.RootsOf(charters); err != nil {
		return err
	}
	if g.JSON {
		return writeJSON(std.Out, shown)
	}
	return shown.print(std)
}

func (s shownCharter) print(std streams) error {
	fmt.Fprintf(std.Out, "Charter of %s\n\n", s.Origin)
	t := table(std.Out)
	fmt.Fprintln(t, "version\tissued\tsigned by\tdigest")
	for _, v := range s.Versions {
		fmt.Fprintf(t, "%d\t%s\t%s (%d needed)\t%s\n", v.Version, localTime(v.Issued), joined(v.Signers), v.Threshold, v.Digest)
	}
	fmt.Fprintln(t, "\nkey\trole\tname\talgorithm\tvalid")
	for _, k := range s.Keys {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", k.KeyID, k.Role, k.Name, k.Alg, validity(k))
	}
	fmt.Fprintln(t)
	printRoots(t, s.Roots, s.Pinned)
	return t.Flush()
}

// validity says when a key counts.
func validity(k seal.Key) string {
	text := "from " + localTime(k.NotBeforeMS)
	if k.NotAfterMS != nil {
		text += " until " + localTime(*k.NotAfterMS)
	}
	return text
}
