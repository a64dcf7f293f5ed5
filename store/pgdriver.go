package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// dialler opens connections to a PostgreSQL server that take the SQL of this program: `?` and
// `?1` for parameters. pgx keeps statements prepared by their text.
type dialler struct {
	config  *pgx.ConnConfig
	prepare func(context.Context, *pgx.Conn) error // run on each new connection; may be nil
}

func (d *dialler) Driver() driver.Driver { return stdlib.GetDefaultDriver() }

func (d *dialler) Connect(ctx context.Context) (driver.Conn, error) {
	after := func(ctx context.Context, c *pgx.Conn) error {
		if d.prepare == nil {
			return nil
		}
		err := d.prepare(ctx, c)
		if err != nil {
			err = errors.Join(err, c.Close(context.WithoutCancel(ctx)))
		}
		return err
	}
	c, err := stdlib.GetConnector(*d.config, stdlib.OptionAfterConnect(after)).Connect(ctx)
	if err != nil {
		return nil, err
	}
	conn, ok := c.(*stdlib.Conn)
	if !ok {
		return nil, errors.Join(driver.ErrBadConn, c.Close())
	}
	return &connection{Conn: conn, texts: make(map[string]string)}, nil
}

// connection is used by one goroutine at a time, as database/sql promises.
type connection struct {
	*stdlib.Conn
	texts map[string]string // numbered texts by the text as written
	rows  int64             // written by this connection so far
}

func (c *connection) numbered(query string) string {
	if n, ok := c.texts[query]; ok {
		return n
	}
	n := number(query)
	if len(c.texts) < maxTexts {
		c.texts[query] = n
	}
	return n
}

const maxTexts = 512

// number turns `?` into `$1`, `$2`, … and `?7` into `$7`, outside of quotes.
func number(query string) string {
	var b strings.Builder
	next, quoted := 1, false
	for i := 0; i < len(query); i++ {
		ch := query[i]
		if ch == '\'' {
			quoted = !quoted
		}
		if ch != '?' || quoted {
			b.WriteByte(ch)
			continue
		}
		b.WriteByte('$')
		if i+1 < len(query) && query[i+1] >= '1' && query[i+1] <= '9' {
			continue // its number follows
		}
		b.WriteString(strconv.Itoa(next))
		next++
	}
	return b.String()
}

func (c *connection) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	return c.Conn.PrepareContext(ctx, c.numbered(query))
}

func (c *connection) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if len(args) == 0 && strings.Contains(query, ";") {
		results, err := c.Conn.Conn().PgConn().Exec(ctx, query).ReadAll()
		for _, r := range results {
			c.rows += r.CommandTag.RowsAffected()
		}
		return driver.RowsAffected(0), c.failed(err)
	}
	res, err := c.Conn.ExecContext(ctx, c.numbered(query), args)
	if err != nil {
		return nil, c.failed(err)
	}
	n, err := res.RowsAffected()
	if !reads(query) {
		c.rows += n
	}
	return res, err
}

func (c *connection) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if !reads(query) {
		c.rows++ // a RETURNING
	}
	rows, err := c.Conn.QueryContext(ctx, c.numbered(query), args)
	if err != nil {
		return nil, c.failed(err)
	}
	found, ok := rows.(*stdlib.Rows)
	if !ok {
		return rows, nil
	}
	return &answer{Rows: found, on: c}, nil
}

func reads(query string) bool {
	return len(query) >= 6 && strings.EqualFold(query[:6], "select")
}

// failed gives the end of a connection its code: whatever ended it, the server is not there.
func (c *connection) failed(err error) error {
	var answer *pgconn.PgError
	if err == nil || !c.Conn.Conn().IsClosed() || errors.As(err, &answer) {
		return err
	}
	return &Error{Code: CodeUnavailable, Op: "talk to", Detail: awaiting, Err: err}
}

func (c *connection) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	tx, err := c.Conn.BeginTx(ctx, o)
	if err != nil {
		return nil, c.failed(err)
	}
	return &transaction{Tx: tx, on: c}, nil
}

type transaction struct {
	driver.Tx
	on *connection
}

func (t *transaction) Commit() error { return t.on.failed(t.Tx.Commit()) }

// answer is what a query found.
type answer struct {
	*stdlib.Rows
	on *connection
}

func (a *answer) Next(dest []driver.Value) error {
	err := a.Rows.Next(dest)
	if err == io.EOF {
		return err
	}
	return a.on.failed(err)
}

// classifyServer gives an answer of PostgreSQL its code, and that there is no server.
func classifyServer(err error) (Code, string, bool) {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		code, detail := codeOfState(answer.Code)
		return code, detail, true
	}
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) || errors.Is(err, driver.ErrBadConn) {
		return CodeUnavailable, awaiting, true
	}
	return "", "", false
}

const awaiting = "the server does not answer; start it, or wait for it"

func codeOfState(state string) (Code, string) {
	switch state {
	case "57P01", "57P02", "57P03", "57P05":
		return CodeUnavailable, awaiting
	case "53300":
		return CodeUnavailable, "the server has no connection left; raise max_connections"
	case "53100":
		return CodeFull, "free disk space on the server"
	case "25006":
		return CodeReadOnly, "the server is a standby, or the transaction only reads"
	case "55P03":
		return CodeBusy, "another process writes this database; only one may"
	case "3D000", "28000", "28P01", "3F000", "42501":
		return CodeMissing, "check the address, the user and the password, and that the database exists"
	case "XX001", "XX002":
		return CodeCorrupt, "restore this database from a backup"
	}
	switch state[:min(2, len(state))] {
	case "08":
		return CodeUnavailable, awaiting
	case "23":
		return CodeConstraint, ""
	case "40":
		return CodeBusy, ""
	case "58":
		return CodeIO, "check the server's disk"
	}
	return CodeSQL, ""
}
