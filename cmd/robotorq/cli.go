package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/alecthomas/kong"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/proof"
)

// Exit codes of every command (spec interface).
const (
	exitOK     = 0 // done, and what was checked holds
	exitFailed = 1 // what was checked or asked for failed
	exitUsage  = 2 // wrong usage, or `verify` could not check
)

// streams are the command's ends; tests hand in buffers.
type streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// global holds the flags that every command understands.
type global struct {
	JSON   bool   `name:"json" help:"Print one JSON document for programs."`
	Config string `placeholder:"FILE" env:"ROBOTORQ_CONFIG" help:"Settings (robotorq config --help)."`
}

type cli struct {
	global

	Up       upCmd       `cmd:"" group:"reserve" help:"Run the whole reserve in this process."`
	Services runCmd      `cmd:"" name:"run" group:"reserve" help:"Run some services of a reserve in this process."`
	HandOver handOverCmd `cmd:"" name:"hand-over" group:"reserve" help:"Give a station a directory and process of its own, or take it back."`
	Charter  charterCmd  `cmd:"" group:"reserve" help:"The reserve's charter: its keys and who may change them."`
	Keys     keysCmd     `cmd:"" group:"reserve" help:"Key files of this data directory."`
	Members  membersCmd  `cmd:"" group:"reserve" help:"Admit members and organisations."`
	Backup   backupCmd   `cmd:"" group:"reserve" help:"Copy a data directory at one moment, while its reserve runs."`
	Restore  restoreCmd  `cmd:"" group:"reserve" help:"Put a copy back into a new directory."`
	Settings configCmd   `cmd:"" name:"config" group:"reserve" help:"The settings as they stand, and where each comes from."`
	Doctor   doctorCmd   `cmd:"" group:"reserve" help:"Check this machine and a data directory, and say how to mend what is wrong."`

	Robot robotCmd `cmd:"" group:"robots" help:"A robot's agent."`

	Verify  verifyCmd  `cmd:"" group:"proof" help:"Check a certificate, an ore proof or a whole data directory, offline."`
	Audit   auditCmd   `cmd:"" group:"proof" help:"Recompute the reserve's books from artefacts and postings."`
	Mirror  mirrorCmd  `cmd:"" group:"proof" help:"Copy a reserve's log and packs, checked as they come."`
	Witness witnessCmd `cmd:"" group:"proof" help:"Cosign the checkpoints of others, so that no log can show two histories."`
	Proof   proofCmd   `cmd:"" group:"proof" help:"Derive, export and open up proofs."`

	Contract contractCmd `cmd:"" group:"contracts" help:"Work for money: from the proposal to the end."`
	Invest   investCmd   `cmd:"" group:"contracts" help:"Take a part of a contract's stake."`
	Policy   policyCmd   `cmd:"" group:"contracts" help:"The numbers of the reserve and their changes."`
	Recall   recallCmd   `cmd:"" group:"contracts" help:"Take back a certificate that was proven wrong."`
	Tokens   tokensCmd   `cmd:"" group:"reserve" help:"Bearer tokens of the HTTP interface."`

	Wallet walletCmd `cmd:"" group:"members" help:"A member's keys and money."`
	Bond   bondCmd   `cmd:"" group:"members" help:"Bearer bonds: whoever has the secret has the money."`
	Ledger ledgerCmd `cmd:"" group:"members" help:"The ledger's rules, run on a file of operations."`

	Market marketCmd `cmd:"" group:"marketplace" help:"The bitcoin marketplace: funded tasks for robots, paid in sats."`

	Sim simCmd `cmd:"" help:"The simulator: the seed's economy in ticks and steps."`

	Bench   benchCmd   `cmd:"" help:"Measure this machine beside its own limit."`
	Version versionCmd `cmd:"" help:"Print the version."`

	Completion completionCmd `cmd:"" help:"Completion of commands and flags for bash, zsh and fish."`
	Man        manCmd        `cmd:"" help:"The manual page, for man."`
}

var groups = []kong.Group{
	{Key: "reserve", Title: "Running a reserve"},
	{Key: "robots", Title: "Robots"},
	{Key: "proof", Title: "Checking"},
	{Key: "members", Title: "Members and money"},
	{Key: "contracts", Title: "Contracts, policy and recalls"},
	{Key: "marketplace", Title: "The bitcoin marketplace (with ROBOT_QUEUE_ENABLED=true in up)"},
}

// exitError carries an exit code other than 1 to the edge.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// answered is a failure that the command's JSON document on standard output tells of
// already.
type answered struct{ error }

func (a answered) Unwrap() error { return a.error }

// run parses and executes one command line and returns its exit code.
func run(ctx context.Context, args []string, std streams) (code int) {
	var c cli
	file, err := readConfig(args)
	if err != nil {
		return report(std, slices.Contains(args, "--json"), &exitError{exitUsage, err})
	}
	variables := kong.Vars{"data": shownData(args), "listen": defaultListen}
	exited := false
	parser, err := kong.New(&c,
		kong.Name("robotorq"),
		kong.Description("Money backed by metered robot work: a reserve, its proofs and its wallets."),
		kong.Writers(std.Out, std.Err),
		kong.Exit(func(n int) { exited, code = true, n }),
		variables,
		kong.ExplicitGroups(groups),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.DefaultEnvars("ROBOTORQ"),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(std, &c.global, file),
		kong.Resolvers(file),
	)
	if err != nil {
		fmt.Fprintln(std.Err, "robotorq:", err)
		return exitUsage
	}
	if complete(parser) {
		return exitOK
	}
	if len(args) == 0 || args[0] == "help" {
		args = append(args[min(1, len(args)):], "--help")
	}
	command, err := parser.Parse(args)
	if exited {
		return code
	}
	if err != nil {
		if slices.Contains(args, "--json") {
			writeJSON(std.Err, map[string]any{"error": err.Error(), "code": "usage"})
			return exitUsage
		}
		fmt.Fprintf(std.Err, "robotorq: %v\n%s\n", err, whereHelpIs(err))
		return exitUsage
	}
	err = command.Run()
	return report(std, c.JSON, err)
}

// whereHelpIs names the help of the command that was used wrongly, if it was known by then.
func whereHelpIs(err error) string {
	var wrong *kong.ParseError
	if errors.As(err, &wrong) && wrong.Context != nil && wrong.Context.Selected() != nil {
		return "Run `" + wrong.Context.Selected().FullPath() + " --help` for its flags."
	}
	return "Run `robotorq --help` for the commands."
}

// report prints an error for its reader and returns the exit code.
func report(std streams, asJSON bool, err error) int {
	if err == nil {
		return exitOK
	}
	code := codeOf(err)
	if asJSON {
		if !errors.As(err, new(answered)) {
			writeJSON(std.Err, map[string]any{"error": err.Error(), "code": errorCode(err)})
		}
		return code
	}
	fmt.Fprintln(std.Err, "robotorq:", printable(err.Error()))
	return code
}

// codeOf is the exit code of an error. A file or directory that was named and is not
// there is wrong usage in every command; one that is missing from what was checked is a
// fault like any other.
func codeOf(err error) int {
	var exit *exitError
	switch {
	case errors.As(err, &exit):
		return exit.code
	case errors.Is(err, fs.ErrNotExist) && proof.AsFault(err) == nil && !errors.As(err, new(answered)):
		return exitUsage
	}
	return exitFailed
}

// errorCode finds the stable code of a typed error, "failed" when it has none. What a
// check found wrong is named by its rule, whatever wraps it.
func errorCode(err error) string {
	if f := proof.AsFault(err); f != nil {
		return f.Rule
	}
	var coded interface{ ErrorCode() string }
	if errors.As(err, &coded) {
		return coded.ErrorCode()
	}
	if code := string(ledger.CodeOf(err)); code != "" {
		return code
	}
	return "failed"
}

// writeJSON prints one indented JSON document.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// maxInput bounds a document that is read whole: an export of a certificate is
// below a megabyte.
const maxInput = 64 << 20

// readInput reads a file, or standard input for "-", up to maxInput.
func readInput(std streams, name string) ([]byte, error) {
	in := std.In
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if info, err := f.Stat(); err != nil || info.IsDir() {
			return nil, errors.Join(err, fmt.Errorf("%s is a directory, a file is wanted", name))
		}
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxInput+1))
	if err == nil && len(data) > maxInput {
		err = fmt.Errorf("%s is larger than %s: no document of a reserve is", name, bytesOf(maxInput))
	}
	return data, err
}
