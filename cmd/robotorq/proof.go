package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
)

type proofCmd struct {
	Derive  proofDeriveCmd  `cmd:"" help:"What follows from reports: digest, ore, carry, leaves."`
	Ingot   proofIngotCmd   `cmd:"" help:"The tree over spans of ore, and a path in it."`
	Records proofRecordsCmd `cmd:"" help:"The tree over ingot records that a pour and a certificate carry, and a path in it."`
	Export  proofExportCmd  `cmd:"" help:"All that backs a certificate, as one document."`
	Ore     proofOreCmd     `cmd:"" help:"The offline proof of one unit of ore."`
	Prune   proofPruneCmd   `cmd:"" help:"Lower the retention level of old certificates."`
}

type proofDeriveCmd struct {
	Files []string `arg:"" name:"file" help:"Reports as hex, CBOR, DSSE or a JSON request; - for standard input."`
	Leaf  *uint64  `placeholder:"K" help:"Print the leaf of unit K of the only report."`
}

// Help is the long help with examples.
func (proofDeriveCmd) Help() string {
	return `The answer is JSON: {"reports": [{"digest", "ore", "carry_out", "leaf_first", "leaf_last"}, …]}.
A request {"reports": [{"payload": hex, "carry_in": n}, …]} says what each report
carries in; every other form carries nothing in.

Examples:
  robotorq proof derive report.cbor
  robotorq proof derive --json request.json
  robotorq proof derive report.json --leaf 19999`
}

func (c *proofDeriveCmd) Run(std streams, g *global) error {
	answer := proof.DeriveAnswer{Reports: []proof.Derived{}}
	for _, name := range c.Files {
		data, err := readInput(std, name)
		if err != nil {
			return &exitError{exitUsage, err}
		}
		request, err := proof.ReadDeriveFile(data)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		a, err := proof.Derive(request)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		answer.Reports = append(answer.Reports, a.Reports...)
	}
	if c.Leaf == nil {
		return writeJSON(std.Out, answer)
	}
	if len(answer.Reports) != 1 {
		return &exitError{exitUsage, fmt.Errorf("--leaf takes one report, the files hold %d", len(answer.Reports))}
	}
	leaf, err := answer.Reports[0].Leaf(*c.Leaf)
	if err != nil {
		return err
	}
	if g.JSON {
		return writeJSON(std.Out, map[string]merkle.Hash{"leaf": leaf})
	}
	_, err = fmt.Fprintln(std.Out, leaf)
	return err
}

type proofIngotCmd struct {
	File string `arg:"" help:"JSON request {\"spans\": [[digest hex, first, count], …], \"index\": m}; - for standard input."`
}

// Help is the long help with an example.
func (proofIngotCmd) Help() string {
	return `Examples:
  robotorq proof ingot spans.json
  robotorq proof ingot --json spans.json`
}

func (c *proofIngotCmd) Run(std streams, g *global) error {
	data, err := readInput(std, c.File)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	request, err := proof.ReadIngotFile(data)
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	answer, err := proof.IngotTree(request)
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	if g.JSON {
		return writeJSON(std.Out, answer)
	}
	fmt.Fprintf(std.Out, "root  %s\nleaf  %s\n", answer.Root, answer.Leaf)
	for _, h := range answer.Path {
		fmt.Fprintf(std.Out, "path  %s\n", h)
	}
	return nil
}

type proofRecordsCmd struct {
	File string `arg:"" help:"JSON request {\"ingots\": [record hex or {\"refinery\", \"seq\", \"contract\", \"spans\"}, …], \"index\": m}; - for standard input."`
}

// Help is the long help with examples.
func (proofRecordsCmd) Help() string {
	return `The root of a certificate (1,000 ingots) or of a pour, from the ingots' records or
from their spans, and the record, leaf and path of the one at index. A request
{"ingot": …, "index": m, "size": n, "path": [hex, …]} gives the root to which a path
leads.

Examples:
  robotorq proof records certificate.json
  robotorq proof records --json certificate.json`
}

func (c *proofRecordsCmd) Run(std streams, g *global) error {
	data, err := readInput(std, c.File)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	request, err := proof.ReadRecordsFile(data)
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	answer, err := proof.RecordsTree(request)
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	if g.JSON {
		return writeJSON(std.Out, answer)
	}
	fmt.Fprintf(std.Out, "ingots  %s\nroot    %s\nrecord  %s\nleaf    %s\n", counted(answer.Size), answer.Root, answer.Record, answer.Leaf)
	for _, h := range answer.Path {
		fmt.Fprintf(std.Out, "path    %s\n", h)
	}
	return nil
}

type proofExportCmd struct {
	Serial  uint64 `arg:"" help:"Number of the certificate, from 1."`
	Data    string `placeholder:"DIR" help:"Data directory (default: ${data})."`
	Out     string `short:"o" placeholder:"FILE" help:"Write to this file instead of standard output."`
	Profile string `hidden:""`
}

// Help is the long help with an example.
func (proofExportCmd) Help() string {
	return `The document holds the certificate, its ingots, pours, batches, reports, contracts,
enrolments and charters, and its place in the log: robotorq verify takes it, and
so can any program with CBOR, SHA-256 and the signature algorithms.

Examples:
  robotorq proof export 1 --data /tmp/demo --out certificate-1.json
  robotorq proof export 1 | robotorq verify -`
}

func (c *proofExportCmd) Run(ctx context.Context, std streams, g *global) error {
	return withIndex(ctx, dataDir(c.Data), c.Profile, func(x *archive.Index) error {
		b, err := x.Export(c.Serial)
		if err != nil {
			return err
		}
		return writeDocument(std, g, c.Out, b, map[string]any{"serial": c.Serial}, fmt.Sprintf("certificate %d", c.Serial))
	})
}

type proofOreCmd struct {
	Certificate uint64 `arg:"" help:"Number of the certificate, from 1."`
	K           uint64 `arg:"" help:"Unit in the certificate, from 0."`
	Data        string `placeholder:"DIR" help:"Data directory (default: ${data})."`
	Out         string `short:"o" placeholder:"FILE" help:"Write to this file instead of standard output."`
	Profile     string `hidden:""`
}

// Help is the long help with an example.
func (proofOreCmd) Help() string {
	return `The document leads from a robot's signed readings to the log; robotorq verify takes
it.

Examples:
  robotorq proof ore 1 1234567 --data /tmp/demo --out ore.json
  robotorq proof ore 1 0 | robotorq verify -`
}

func (c *proofOreCmd) Run(ctx context.Context, std streams, g *global) error {
	return withIndex(ctx, dataDir(c.Data), c.Profile, func(x *archive.Index) error {
		p, err := x.Ore(c.Certificate, c.K)
		if err != nil {
			return err
		}
		return writeDocument(std, g, c.Out, p, map[string]any{"serial": c.Certificate, "unit": c.K},
			fmt.Sprintf("the proof of unit %s of certificate %d", counted(c.K), c.Certificate))
	})
}

// withIndex opens the index of a data directory for a while.
func withIndex(ctx context.Context, dir, profile string, use func(*archive.Index) error) (err error) {
	r, err := openReserve(dir, profile)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	x, err := archive.OpenIndex(ctx, dir, r.profile)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, x.Close()) }()
	return use(x)
}

// writeDocument prints a document, or writes it to a file and says so.
func writeDocument(std streams, g *global, out string, document any, about map[string]any, what string) error {
	if out == "" {
		enc := json.NewEncoder(std.Out)
		enc.SetEscapeHTML(false)
		return enc.Encode(document)
	}
	data, err := json.Marshal(document)
	if err != nil {
		return err
	}
	if err := replaceFile(out, append(data, '\n'), 0o644); err != nil {
		return err
	}
	if g.JSON {
		about["file"], about["bytes"] = out, len(data)+1
		return writeJSON(std.Out, about)
	}
	_, err = fmt.Fprintf(std.Out, "Wrote %s to %s (%s). Check it with: robotorq verify %s\n", what, out, bytesOf(uint64(len(data)+1)), out)
	return err
}

// replaceFile writes a file so that there is never half of it.
func replaceFile(path string, data []byte, mode os.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
