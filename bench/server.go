package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"

	"robotorq.org/reserve/store/pgtemp"
)

// databases are where the books of a PostgreSQL server come from: a server of this
// measurement's own, or one that somebody else runs.
type databases interface {
	// Create makes a database, empty or a copy of one that nobody is connected to, and
	// returns its address.
	Create(ctx context.Context, template string) (address string, err error)
	Drop(ctx context.Context, address string) error
	Close() error
}

// OwnServer stands for the address of a PostgreSQL server that is started for the
// measurement from the installed programs, and ends with it.
const OwnServer = "own"

// serverAt is the server at an address.
func serverAt(ctx context.Context, address string) (databases, error) {
	if address == "" || address == OwnServer {
		s, err := pgtemp.Start(ctx)
		return ownServer{s}, err
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return nil, errors.New("an address of a PostgreSQL server reads postgres://user:password@host:port/database")
	}
	s := &otherServer{address: *u}
	return s, s.do(ctx, "SELECT 1")
}

// ownServer is gone with all of its databases when it is closed.
type ownServer struct{ *pgtemp.Server }

func (ownServer) Drop(context.Context, string) error { return nil }

// otherServer is a server that this measurement is only a guest of: it makes databases
// with names that nobody else has, and drops them again.
type otherServer struct{ address url.URL }

func (s *otherServer) do(ctx context.Context, statement string) (err error) {
	conn, err := pgx.Connect(ctx, s.address.String())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	_, err = conn.Exec(ctx, statement)
	return err
}

func (s *otherServer) Create(ctx context.Context, template string) (string, error) {
	var random [8]byte
	rand.Read(random[:]) // never fails
	name := "robotorq_bench_" + hex.EncodeToString(random[:])
	statement := "CREATE DATABASE " + name
	if template != "" {
		of, err := databaseOf(template)
		if err != nil {
			return "", err
		}
		statement += " TEMPLATE " + of
	}
	if err := s.do(ctx, statement); err != nil {
		return "", fmt.Errorf("the server must let its user make databases: %w", err)
	}
	place := s.address
	place.Path = "/" + name
	return place.String(), nil
}

func (s *otherServer) Drop(ctx context.Context, address string) error {
	name, err := databaseOf(address)
	if err != nil {
		return err
	}
	return s.do(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
}

func (*otherServer) Close() error { return nil }

func databaseOf(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	return pgx.Identifier{strings.TrimPrefix(u.Path, "/")}.Sanitize(), nil
}
