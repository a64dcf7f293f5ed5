package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/explorer"
	"robotorq.org/reserve/node"
)

type tokensCmd struct {
	New    tokensNewCmd    `cmd:"" help:"Make a bearer token; it is shown once."`
	List   tokensListCmd   `cmd:"" help:"Names, roles and times of the tokens."`
	Revoke tokensRevokeCmd `cmd:"" help:"End all tokens of a name."`
}

type tokensNewCmd struct {
	Name string        `arg:"" help:"Who will use it."`
	Role string        `enum:"mesh,portal,admin,registrar" required:"" help:"mesh, portal, admin or registrar."`
	TTL  time.Duration `name:"ttl" default:"720h" help:"How long it is valid."`
	Data string        `placeholder:"DIR" help:"Data directory (default: ${data})."`
}

// Help is the long help with an example.
func (tokensNewCmd) Help() string {
	return `Works beside the running node, and on a stopped one. Only the token's SHA-256 is kept: write it down now.

Example:
  robotorq tokens new ops --role admin --ttl 24h --data /var/lib/robotorq`
}

// withTokens opens the tokens of a data directory. change says that they are written:
// those of a stopped reserve are part of what verify compares with its last stop, so
// that the directory is held meanwhile and the tokens' file is summed anew.
func withTokens(ctx context.Context, dir string, change bool, do func(*explorer.TokenBook) error) error {
	r, err := openReserve(dataDir(dir), "")
	if err == nil && r.origin == "" {
		err = fmt.Errorf("%s is a mirror: tokens belong to the reserve's own data directory", r.dir)
	}
	if err != nil {
		return &exitError{exitUsage, err}
	}
	open := func() error {
		book, done, err := explorer.OpenTokens(ctx, r.dir, node.Clock{})
		if err != nil {
			return err
		}
		err = do(book)
		return errors.Join(err, done())
	}
	if !change {
		return open()
	}
	release, err := hold(r.dir)
	if err != nil {
		return err
	}
	if release == nil { // the running reserve sums its files when it stops
		return open()
	}
	return errors.Join(archive.ChangeAtRest(r.dir, explorer.File, open), release())
}

// hold takes the lock of a data directory; release is nil when a reserve has it.
func hold(dir string) (release func() error, err error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, f.Close()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f.Close, nil
}

func (c *tokensNewCmd) Run(ctx context.Context, std streams, g *global) error {
	return withTokens(ctx, c.Data, true, func(b *explorer.TokenBook) error {
		expires := time.Now().Add(c.TTL)
		token, err := b.IssueToken(ctx, c.Name, api.Role(c.Role), uint64(expires.UnixMilli()))
		if err != nil {
			return err
		}
		if g.JSON {
			return writeJSON(std.Out, map[string]any{"name": c.Name, "role": c.Role, "expires_ms": expires.UnixMilli(), "token": token})
		}
		fmt.Fprintf(std.Err, "Token of %s, role %s, until %s:\n", c.Name, c.Role, localTime(uint64(expires.UnixMilli())))
		_, err = fmt.Fprintln(std.Out, token)
		return err
	})
}

type tokensListCmd struct {
	Data string `placeholder:"DIR" help:"Data directory (default: ${data})."`
}

// Help is the long help with an example.
func (tokensListCmd) Help() string {
	return `Example:
  robotorq tokens list --data /var/lib/robotorq`
}

// tokenLine is a token without the token.
type tokenLine struct {
	Name    string `json:"name"`
	Role    string `json:"role"`
	State   string `json:"state"`
	Created uint64 `json:"created_ms"`
	Expires uint64 `json:"expires_ms"`
	Revoked uint64 `json:"revoked_ms,omitempty"`
}

func (c *tokensListCmd) Run(ctx context.Context, std streams, g *global) error {
	return withTokens(ctx, c.Data, false, func(b *explorer.TokenBook) error {
		tokens, err := b.Tokens(ctx)
		if err != nil {
			return err
		}
		now := uint64(time.Now().UnixMilli())
		lines := []tokenLine{}
		for _, t := range tokens {
			l := tokenLine{Name: t.Name, Role: string(t.Role), State: "valid", Created: t.Created, Expires: t.Expires, Revoked: t.Revoked}
			switch {
			case t.Revoked > 0:
				l.State = "revoked"
			case t.Expires <= now:
				l.State = "expired"
			}
			lines = append(lines, l)
		}
		if g.JSON {
			return writeJSON(std.Out, map[string]any{"tokens": lines})
		}
		t := table(std.Out)
		fmt.Fprintln(t, "name\trole\tstate\tcreated\texpires")
		for _, l := range lines {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", oneLine(l.Name), l.Role, l.State, localTime(l.Created), localTime(l.Expires))
		}
		return t.Flush()
	})
}

type tokensRevokeCmd struct {
	Name string `arg:"" help:"Name of the tokens to end."`
	Data string `placeholder:"DIR" help:"Data directory (default: ${data})."`
}

// Help is the long help with an example.
func (tokensRevokeCmd) Help() string {
	return `Exits 1 when there is no valid token of that name.

Example:
  robotorq tokens revoke ops --data /var/lib/robotorq`
}

func (c *tokensRevokeCmd) Run(ctx context.Context, std streams, g *global) error {
	return withTokens(ctx, c.Data, true, func(b *explorer.TokenBook) error {
		n, err := b.RevokeToken(ctx, c.Name)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("there is no token named %q that is not revoked: see robotorq tokens list", c.Name)
		}
		if g.JSON {
			return writeJSON(std.Out, map[string]any{"name": c.Name, "revoked": n})
		}
		_, err = fmt.Fprintf(std.Out, "Revoked %s of %s.\n", several(n, "token"), c.Name)
		return err
	})
}
