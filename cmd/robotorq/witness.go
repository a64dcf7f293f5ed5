package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/mod/sumdb/note"

	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/node"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/witness"
)

type witnessCmd struct {
	Serve     witnessServeCmd     `cmd:"" help:"Be a witness of other reserves' logs."`
	Key       witnessKeyCmd       `cmd:"" help:"Print a witness's verifier key; makes it if need be."`
	Log       witnessLogCmd       `cmd:"" help:"Print the verifier keys of a reserve's log, as a witness takes them."`
	Conflicts witnessConflictsCmd `cmd:"" help:"Show the checkpoints of logs that forked or shrank."`
}

// Files of a witness's directory.
const (
	witnessKeyFile = "witness.json"
	witnessBook    = "witness.db"
)

// witnessSigner reads a witness's key, or makes one with this name ("": made up).
func witnessSigner(dir, name string) (*seal.Signer, error) {
	path, passphrase := filepath.Join(dir, witnessKeyFile), os.Getenv(passphraseVariable)
	s, err := seal.ReadKeyFile(path, passphrase)
	if err == nil && s.Role != seal.RoleWitness {
		return nil, fmt.Errorf("%s holds a key of role %s, not a witness's", path, s.Role)
	}
	if err == nil && name != "" && s.Name != name {
		return nil, fmt.Errorf("the witness in %s is %s, not %s: choose another --data", dir, s.Name, name)
	}
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	if _, err := os.Stat(filepath.Join(dir, witnessBook)); err == nil {
		return nil, fmt.Errorf("%s has a witness's book and no key: bring %s back, or begin a new witness in another --data", dir, witnessKeyFile)
	}
	if name == "" {
		var b [4]byte
		rand.Read(b[:]) // never fails (crypto/rand)
		name = "witness.robotorq.org/" + hex.EncodeToString(b[:])
	}
	if !seal.ValidOrigin(name) {
		return nil, fmt.Errorf("%q cannot be the name of a witness: write it like witness.example/a", name)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if s, err = seal.NewSigner(name, seal.RoleWitness); err != nil {
		return nil, err
	}
	return s, seal.WriteKeyFile(path, passphrase, s)
}

func witnessVerifierKey(s *seal.Signer) (string, error) {
	key, _ := s.Key(seal.Ed25519)
	return checkpoint.CosignerKey(s.Name, key.Public)
}

type witnessKeyCmd struct {
	Data string `required:"" placeholder:"DIR" help:"Directory of the witness."`
	Name string `placeholder:"NAME" help:"Name of a new witness, for example witness.example/a (default: made up)."`
}

// Help is the long help with an example.
func (witnessKeyCmd) Help() string {
	return `The key is what others put into a witness policy, and what the reserve that is
witnessed enters in its charter.

Examples:
  robotorq witness key --data /var/lib/witness --name witness.example/a`
}

func (c *witnessKeyCmd) Run(std streams, g *global) error {
	s, err := witnessSigner(c.Data, c.Name)
	if err != nil {
		return err
	}
	text, err := witnessVerifierKey(s)
	if err != nil {
		return err
	}
	if g.JSON {
		return writeJSON(std.Out, map[string]string{"name": s.Name, "key": text})
	}
	fmt.Fprintln(std.Out, text)
	return nil
}

type witnessLogCmd struct {
	Dir     string   `arg:"" placeholder:"DIR" help:"Data directory of a reserve, or a mirror of one."`
	Root    []string `sep:"none" placeholder:"HEX" help:"Pin the charter to this root key (64 hex digits, repeatable)."`
	Profile string   `hidden:""`
}

// Help is the long help with an example.
func (witnessLogCmd) Help() string {
	return `A checkpoint carries one signature of each algorithm, so there is one key for each;
give them all to the witness.

Examples:
  robotorq witness log /var/lib/robotorq
  robotorq witness log mirror --root 3f6c… --json`
}

func (c *witnessLogCmd) Run(std streams, g *global) error {
	roots, err := parseRoots(c.Root)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	r, err := openReserve(c.Dir, c.Profile)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	charters, err := r.charters()
	if err != nil {
		return err
	}
	chain, err := seal.VerifyCharterChain(charters, roots)
	if err != nil {
		return err
	}
	charter := chain.Latest()
	keys := []string{}
	for _, k := range charter.KeysOf(seal.RoleLog, charter.Name) {
		if k.NotAfterMS != nil {
			continue
		}
		text, err := checkpoint.VerifierKey(k.Name, k.Alg, k.Public)
		if err != nil {
			return err
		}
		keys = append(keys, text)
	}
	if g.JSON {
		return writeJSON(std.Out, map[string]any{"origin": charter.Name, "keys": keys, "pinned": chain.Pinned()})
	}
	for _, k := range keys {
		fmt.Fprintln(std.Out, k)
	}
	return nil
}

type witnessServeCmd struct {
	Data   string   `required:"" placeholder:"DIR" help:"Directory of the witness; made if need be."`
	Name   string   `placeholder:"NAME" help:"Name of a new witness, for example witness.example/a (default: made up)."`
	Listen string   `placeholder:"HOST:PORT" default:"127.0.0.1:8090" help:"Where it listens."`
	Port   *int     `help:"Port; 0 picks a free one."`
	Log    []string `required:"" sep:"none" placeholder:"VKEY" help:"Verifier key of a log (repeatable; all keys of one log must have signed): see witness log."`
}

// Help is the long help with an example.
func (witnessServeCmd) Help() string {
	return `Speaks C2SP tlog-witness: it cosigns a checkpoint that is proven to continue the one
that it cosigned before, and no other. The key is made at the first start. What it
cosigned is on disk before it answers, so that kill -9 makes it forget nothing. Do not
restore its directory from a backup: a witness that may have forgotten needs a new key.

A log that forked or shrank is told of on standard error with both checkpoints, and
they are kept: see witness conflicts.

Examples:
  robotorq witness log /var/lib/robotorq
  robotorq witness serve --data /var/lib/witness --log 'reserve.example/log+…' --log 'reserve.example/log+…'`
}

func (c *witnessServeCmd) Run(ctx context.Context, std streams, g *global) (err error) {
	logs, err := witnessLogs(c.Log)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return &exitError{exitUsage, fmt.Errorf("--listen %q is not HOST:PORT", c.Listen)}
	}
	if c.Port != nil {
		port = strconv.Itoa(*c.Port)
	}
	s, err := witnessSigner(c.Data, c.Name)
	if err != nil {
		return err
	}
	key, err := witnessVerifierKey(s)
	if err != nil {
		return err
	}
	db, err := store.Open(ctx, filepath.Join(c.Data, witnessBook), store.Options{Schemas: []store.Schema{witness.Schema()}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	server, err := witness.New(witness.Config{Signer: s, DB: db, Logs: logs, Clock: node.Clock{}, Warn: slog.New(conflictsTo{std})})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return fmt.Errorf("the witness cannot listen there: %w (choose another with --listen or --port)", err)
	}
	url := "http://" + listener.Addr().String() + "/"
	if g.JSON {
		err = writeJSON(std.Out, map[string]string{"name": s.Name, "key": key, "url": url})
	} else {
		_, err = fmt.Fprintf(std.Out, "Witness %s listens on %s\n%s\n", s.Name, url, key)
	}
	return errors.Join(err, serveUntil(ctx, listener, server.Handler()))
}

// serveUntil serves until ctx ends, and lets what is being answered be answered.
func serveUntil(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{Handler: h, ReadTimeout: 20 * time.Second, ReadHeaderTimeout: 10 * time.Second, WriteTimeout: 5 * time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10}
	stopped := make(chan error, 1)
	go func() { stopped <- server.Serve(l) }()
	select {
	case err := <-stopped:
		return err
	case <-ctx.Done():
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := server.Shutdown(bounded)
	<-stopped
	return errors.Join(err, server.Close())
}

// witnessLogs groups verifier keys by the name of their log.
func witnessLogs(keys []string) ([]witness.Log, error) {
	by := map[string][]note.Verifier{}
	var names []string
	for _, text := range keys {
		v, err := checkpoint.ParseVerifierKey(text)
		if err != nil {
			return nil, fmt.Errorf("--log: %w", err)
		}
		if !slices.Contains(names, v.Name()) {
			names = append(names, v.Name())
		}
		by[v.Name()] = append(by[v.Name()], v)
	}
	var logs []witness.Log
	for _, name := range names {
		logs = append(logs, witness.LogOf(name, by[name]...))
	}
	return logs, nil
}

// conflictsTo writes a witness's warnings for people: checkpoints have lines.
type conflictsTo struct{ std streams }

func (conflictsTo) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }
func (h conflictsTo) WithAttrs([]slog.Attr) slog.Handler         { return h }
func (h conflictsTo) WithGroup(string) slog.Handler              { return h }

func (h conflictsTo) Handle(_ context.Context, r slog.Record) error {
	said := map[string]string{}
	r.Attrs(func(a slog.Attr) bool { said[a.Key] = a.Value.String(); return true })
	_, err := fmt.Fprintf(h.std.Err, "robotorq: %s: %s (%s): %s\n\nThe checkpoint that was cosigned:\n\n%s\nThe checkpoint that is offered now:\n\n%s\n",
		printable(said["log"]), r.Message, said["kind"], printable(said["reason"]), printable(said["kept"]), printable(said["offered"]))
	return err
}

type witnessConflictsCmd struct {
	Data string `required:"" placeholder:"DIR" help:"Directory of the witness."`
	Log  string `placeholder:"NAME" help:"Only of this log."`
}

// Help is the long help with an example.
func (witnessConflictsCmd) Help() string {
	return `A conflict of kind "forked" proves by itself that the log signed two trees. One of kind
"unproven" or "shrank" may be the fault of whoever sent it. Exits 1 when there is any.

Examples:
  robotorq witness conflicts --data /var/lib/witness`
}

// shownConflict is a line of the answer of `witness conflicts`.
type shownConflict struct {
	Origin  string `json:"origin"`
	Kind    string `json:"kind"`
	Kept    string `json:"kept"`
	Offered string `json:"offered"`
	Seconds uint64 `json:"seconds"`
}

func (c *witnessConflictsCmd) Run(ctx context.Context, std streams, g *global) (err error) {
	db, err := store.OpenReadOnly(ctx, filepath.Join(c.Data, witnessBook), witness.Schema())
	if err != nil {
		return &exitError{exitUsage, err}
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	found, err := witness.Conflicts(ctx, db, c.Log)
	if err != nil {
		return err
	}
	shown := []shownConflict{}
	for _, f := range found {
		shown = append(shown, shownConflict{f.Origin, f.Kind, string(f.Kept), string(f.Offered), f.Seconds})
	}
	if g.JSON {
		if err := writeJSON(std.Out, map[string]any{"conflicts": shown}); err != nil {
			return err
		}
	} else {
		for _, f := range found {
			fmt.Fprintf(std.Out, "%s, %s: %s\n\n", f.Origin, localTime(f.Seconds*1000), printable(f.Error()))
		}
	}
	if len(found) == 0 {
		return nil
	}
	return &proof.Fault{Artefact: "log " + found[0].Origin, Rule: "conflict", Detail: several(len(found), "checkpoint") + " did not continue what was cosigned before"}
}

// readWitnessPolicy reads the file of a --witness-policy.
func readWitnessPolicy(file string) (witness.Policy, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return witness.Policy{}, err
	}
	p, err := witness.ParsePolicy(data)
	if err != nil {
		return p, fmt.Errorf("%s: %w", file, err)
	}
	return p, nil
}
