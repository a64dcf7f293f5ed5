// Package pgtemp runs a PostgreSQL server of its own in a temporary directory, for tests and
// for measurements: the installed programs, a data directory that nobody else uses, a socket
// in it and no network. It commits as durably as any server: nothing about syncing is
// switched off.
//
// PostgreSQL refuses to run as root; a process that is root runs it as the user postgres, or
// nobody. The server ends with [Server.Close], or when the process that started it ends; in
// that case its directory is left behind.
package pgtemp

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrMissing is wrapped by the error of Start where the server cannot be had: it is not
// installed, or there is no user to run it as.
var ErrMissing = errors.New("no PostgreSQL server here")

// Server is a running or stopped server. Its methods may be called from any goroutine.
type Server struct {
	programs string
	dir      string
	as       *syscall.Credential

	mu      sync.Mutex
	process *exec.Cmd
	ended   chan error
	made    int
}

// Start makes a server and waits until it answers.
func Start(ctx context.Context) (*Server, error) {
	programs, err := find()
	if err != nil {
		return nil, err
	}
	as, err := unprivileged()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "robotorq-pg-")
	if err != nil {
		return nil, err
	}
	s := &Server{programs: programs, dir: dir, as: as}
	if err := s.setUp(ctx); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := s.Start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) setUp(ctx context.Context) error {
	if s.as != nil {
		if err := os.Chown(s.dir, int(s.as.Uid), int(s.as.Gid)); err != nil {
			return fmt.Errorf("%w: %w", ErrMissing, err)
		}
	}
	init := s.command(ctx, "initdb", "-D", s.data(), "-U", owner, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--data-checksums")
	if out, err := init.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	return nil
}

const owner = "reserve"

// find is the directory with the newest installed server's programs.
func find() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	all, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(all) == 0 {
		return "", fmt.Errorf("%w: initdb is not installed (Debian: apt-get install postgresql)", ErrMissing)
	}
	best, newest := "", -1
	for _, path := range all {
		version, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		if err == nil && version > newest {
			best, newest = filepath.Dir(path), version
		}
	}
	if best == "" {
		return "", fmt.Errorf("%w: %v has no version in its name", ErrMissing, all)
	}
	return best, nil
}

// unprivileged is whom the server runs as: nil for ourselves.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, fmt.Errorf("%w: it does not run as root, and there is neither a user postgres nor nobody", ErrMissing)
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, filepath.Join(s.programs, program), args...)
	c.Dir = s.dir
	c.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: s.as, Setpgid: true, Pdeathsig: syscall.SIGQUIT}
	return c
}

// Start starts a stopped server and waits until it answers; a running one is left alone.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		return nil
	}
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	c := s.command(context.WithoutCancel(ctx), "postgres", "-D", s.data(), "-k", s.dir, "-c", "listen_addresses=",
		"-c", "shared_buffers=128MB", "-c", "max_wal_size=2GB", "-c", "wal_compression=on", "-c", "max_connections=50")
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		return err
	}
	s.process, s.ended = c, make(chan error, 1)
	go func(ended chan<- error) { ended <- c.Wait() }(s.ended)
	return s.await(ctx)
}

// await waits until the server answers. The caller holds mu.
func (s *Server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, s.address("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the server does not answer: %w", err)
		case e := <-s.ended:
			s.process = nil
			text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			return fmt.Errorf("the server ended: %v: %s", e, text[max(0, len(text)-2000):])
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop ends a running server and waits for it: rolling back what is open and writing
// everything out or, now, leaving its files as they are, so that the next start recovers them.
func (s *Server) Stop(now bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return
	}
	how := syscall.SIGINT
	if now {
		how = syscall.SIGQUIT
	}
	s.process.Process.Signal(how)
	<-s.ended
	s.process = nil
}

// Close stops the server and removes its directory.
func (s *Server) Close() error {
	s.Stop(true)
	return os.RemoveAll(s.dir)
}

func (s *Server) address(database string) string {
	q := url.Values{"host": {s.dir}, "user": {owner}, "sslmode": {"disable"}}
	return "postgres:///" + database + "?" + q.Encode()
}

// Create makes a database, empty or a copy of another one that nobody is connected to, and
// returns its address.
func (s *Server) Create(ctx context.Context, template string) (address string, err error) {
	s.mu.Lock()
	s.made++
	name := fmt.Sprintf("d%d", s.made)
	s.mu.Unlock()
	conn, err := pgx.Connect(ctx, s.address("postgres"))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	statement := "CREATE DATABASE " + name
	if template != "" {
		u, err := url.Parse(template)
		if err != nil {
			return "", err
		}
		statement += " TEMPLATE " + pgx.Identifier{filepath.Base(u.Path)}.Sanitize()
	}
	if _, err := conn.Exec(ctx, statement); err != nil {
		return "", err
	}
	return s.address(name), nil
}
