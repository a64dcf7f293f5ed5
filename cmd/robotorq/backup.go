package main

import (
	"context"
	"fmt"
	"time"

	"robotorq.org/reserve/backup"
)

type backupCmd struct {
	To           string `arg:"" help:"New directory for the copy."`
	Data         string `placeholder:"DIR" help:"Data directory (default: ${data})."`
	WithoutBooks bool   `help:"Copy a directory whose vault keeps its books in a PostgreSQL database; pg_dump copies that."`
	RootKeys     bool   `help:"Copy the root keys too, which belong off this machine."`
	Check        bool   `help:"Only compare an existing copy with its manifest, byte for byte."`
}

// Help is the long help with examples.
func (backupCmd) Help() string {
	return `Copies a data directory as it is at one moment, while the reserve runs. Key files
are copied as they are: encrypted when a passphrase is set. The copy lists the SHA-256
of every file.

A reserve goes on only from a copy that was taken after it had stopped: a head of the
books is logged every hour, members' orders are in no log, and books that are older than
the log are refused. Any other copy saves the keys, and evidence of that moment.

Examples:
  robotorq backup /backup/reserve-monday --data /var/lib/robotorq
  robotorq backup --check /backup/reserve-monday`
}

func (c *backupCmd) Run(ctx context.Context, std streams, g *global) error {
	take := func() (backup.Manifest, error) {
		return backup.Take(ctx, backup.Options{Data: dataDir(c.Data), To: c.To, Now: time.Now, Root: c.RootKeys, WithoutBooks: c.WithoutBooks})
	}
	did := "Copied"
	if c.Check {
		take = func() (backup.Manifest, error) { return backup.Check(ctx, c.To) }
		did = "Every byte is as it was copied:"
	}
	running := !c.Check && inUse(dataDir(c.Data))
	m, err := take()
	if err != nil {
		return err
	}
	if !c.Check {
		if err := backup.Note(dataDir(c.Data), c.To, m); err != nil {
			fmt.Fprintf(std.Err, "The copy is whole; that it was taken could not be noted in the data directory, so that the operator's page does not know of it: %v\n", err)
		}
	}
	if g.JSON {
		return writeJSON(std.Out, backedUp(c.To, m))
	}
	fmt.Fprintf(std.Out, "%s %s, %s, log of %s, as of %s. Put it back with: robotorq restore %s --data DIR\n",
		did, several(len(m.Files), "file"), bytesOf(uint64(m.Bytes())), several(int(m.Log), "entry"), localTime(m.Taken), c.To)
	if running {
		fmt.Fprintln(std.Out, "The reserve runs: this copy saves its keys and what its books are now. To go on from a copy, take one when it has stopped.")
	}
	return nil
}

func backedUp(path string, m backup.Manifest) map[string]any {
	return map[string]any{"path": path, "files": len(m.Files), "bytes": m.Bytes(), "log_size": m.Log, "taken_ms": m.Taken}
}

type restoreCmd struct {
	From string `arg:"" help:"Directory made by robotorq backup."`
	Data string `placeholder:"DIR" help:"New data directory (default: ${data})."`
}

// Help is the long help with an example.
func (restoreCmd) Help() string {
	return `Puts a copy back into a new directory; every byte is checked. What the reserve did
after the copy is in the log of its mirrors: start it with --mirror URL, and it signs
nothing until they have confirmed that its log is not behind theirs.

If the reserve went on after the copy, the start is refused: a head of the books is logged
every hour, members' orders are in no log, so books that are older than the log cannot
follow it. Such a copy is good for its keys and as evidence. Back up right after a stop
to move a reserve, and keep its books on storage that loses nothing.

Examples:
  robotorq restore /backup/reserve-monday --data /var/lib/robotorq`
}

func (c *restoreCmd) Run(ctx context.Context, std streams, g *global) error {
	dir := dataDir(c.Data)
	m, err := backup.Restore(ctx, c.From, dir)
	if err != nil {
		return err
	}
	if g.JSON {
		return writeJSON(std.Out, backedUp(dir, m))
	}
	fmt.Fprintf(std.Out, "Restored %s (%s) into %s, as of %s.\n", several(len(m.Files), "file"), bytesOf(uint64(m.Bytes())), dir, localTime(m.Taken))
	fmt.Fprintf(std.Out, "Check it:  robotorq verify %s && robotorq audit --data %s\nStart it:  robotorq up --data %s --mirror URL\n", dir, dir, dir)
	return nil
}
