package explorer

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"errors"
	"path/filepath"
	"strings"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/store"
)

// tokenPrefix makes a token known as one, in a log or a repository where it should
// not be.
const tokenPrefix = "rtq_"

// tokenBytes of a token are random.
const tokenBytes = 32

// maxToken is longer than any token.
const maxToken = 128

// Token is what is known of a bearer token; the token itself is not kept.
type Token struct {
	Name    string
	Role    api.Role
	Created uint64 // Unix ms
	Expires uint64 // Unix ms
	Revoked uint64 // Unix ms, 0 when it is not
}

// TokenBook is the bearer tokens of a node. It may be used beside the running node: each
// change is one transaction, and the node asks for every request.
type TokenBook struct {
	db    *store.DB
	clock api.Clock
}

// OpenTokens opens the tokens of a data directory, for those who administer it. The
// caller ends with done.
func OpenTokens(ctx context.Context, dir string, clock api.Clock) (book *TokenBook, done func() error, err error) {
	db, err := store.Open(ctx, filepath.Join(dir, File), store.Options{Schemas: schemas()})
	if err != nil {
		return nil, nil, err
	}
	return &TokenBook{db: db, clock: clock}, db.Close, nil
}

func (b *TokenBook) now() uint64 { return uint64(b.clock.Now().UnixMilli()) }

func tokenHash(token string) [sha256.Size]byte { return sha256.Sum256([]byte(token)) }

// Check implements [api.Tokens].
func (b *TokenBook) Check(ctx context.Context, token string) (api.Principal, error) {
	if len(token) > maxToken || !strings.HasPrefix(token, tokenPrefix) {
		return api.Principal{}, tokenWrong()
	}
	return b.Holder(ctx, tokenHash(token))
}

func tokenWrong() error {
	return api.Errorf(api.CodeTokenInvalid, "This token is not valid: it is unknown, has expired or was revoked.")
}

// Holder is who holds the token with a SHA-256, for those who do not keep the token. The
// error is that of [TokenBook.Check].
func (b *TokenBook) Holder(ctx context.Context, hash [sha256.Size]byte) (api.Principal, error) {
	var who api.Principal
	var expires uint64
	var revoked sql.NullInt64
	err := b.db.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, "SELECT name, role, expires, revoked FROM explorer_token WHERE hash = ?", hash[:]).
			Scan(&who.Name, &who.Role, &expires, &revoked)
	})
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return api.Principal{}, tokenWrong()
	case err != nil:
		return api.Principal{}, err
	case revoked.Valid, b.now() >= expires:
		return api.Principal{}, tokenWrong()
	}
	return who, nil
}

// IssueToken makes a bearer token that is valid until a time (Unix ms). It is
// returned once and kept only as its SHA-256, which is on disk when this returns.
// The error is a [*api.Error] of code malformed for an unknown role, no name, or a
// time that has passed.
func (b *TokenBook) IssueToken(ctx context.Context, name string, role api.Role, expires uint64) (string, error) {
	now := b.now()
	switch role {
	case api.RoleMesh, api.RolePortal, api.RoleAdmin, api.RoleRegistrar:
	default:
		return "", api.Errorf(api.CodeMalformed, "There is no role %q; a token has mesh, portal, admin or registrar.", role)
	}
	if name == "" || len(name) > maxToken || expires <= now {
		return "", api.Errorf(api.CodeMalformed, "A token needs a name and a time to come at which it expires.")
	}
	var secret [tokenBytes]byte
	rand.Read(secret[:]) // never fails (crypto/rand)
	token := tokenPrefix + base64.RawURLEncoding.EncodeToString(secret[:])
	hash := tokenHash(token)
	err := b.db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO explorer_token (hash, name, role, created, expires) VALUES (?, ?, ?, ?, ?)",
			hash[:], name, string(role), int64(now), int64(expires))
		return err
	})
	if err != nil {
		return "", err
	}
	return token, nil
}

// RevokeToken ends all tokens of a name at once and says how many there were.
func (b *TokenBook) RevokeToken(ctx context.Context, name string) (revoked int64, err error) {
	err = b.db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx, "UPDATE explorer_token SET revoked = ? WHERE name = ? AND revoked IS NULL", int64(b.now()), name)
		if err == nil {
			revoked, err = result.RowsAffected()
		}
		return err
	})
	return revoked, err
}

// Tokens lists all tokens by name, for those who administer the node.
func (b *TokenBook) Tokens(ctx context.Context) (all []Token, err error) {
	err = b.db.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT name, role, created, expires, coalesce(revoked, 0) FROM explorer_token ORDER BY name, created")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var t Token
			if err := rows.Scan(&t.Name, &t.Role, &t.Created, &t.Expires, &t.Revoked); err != nil {
				return err
			}
			all = append(all, t)
		}
		return rows.Err()
	})
	return all, err
}
