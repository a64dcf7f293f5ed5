package vault

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"

	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/solvency"
	"robotorq.org/reserve/torq"
)

// statedAt is where the statements of solvency stand.
type statedAt struct {
	any    bool
	day    uint64 // UTC day of the newest one
	making bool
	after  uint64 // Unix ms: not tried again before
}

func loadStated(ctx context.Context, tx *sql.Tx) (at statedAt, err error) {
	var issued sql.NullInt64
	err = tx.QueryRowContext(ctx, "SELECT max(issued) FROM vault_solvency").Scan(&issued)
	return statedAt{any: issued.Valid, day: uint64(issued.Int64) / policy.Day}, err
}

// daily makes the statement of the day if there is none: the first one as soon as
// somebody has money. It is called by the writer between transactions, when the books are as they
// are on disk. It copies what everybody is owed; the tree is built, signed and written
// beside the writer.
func (s *Station) daily(ctx context.Context) {
	if !s.Daily {
		return
	}
	now := uint64(s.Clock.Now().UnixMilli())
	s.mu.Lock()
	defer s.mu.Unlock()
	state := s.book.State()
	if s.away || s.stated.making || now < s.stated.after || state.Wallets == 0 || s.stated.any && now/policy.Day <= s.stated.day {
		return
	}
	s.stated.making = true
	d := draft{seq: state.Seq, time: state.Time, supply: state.Supply()}
	for account, owed := range s.book.Owed() {
		d.add(account, owed)
	}
	go s.state(context.WithoutCancel(ctx), d)
}

// draft is what everybody was owed at a posting, without pointers: some 30 bytes a
// wallet.
type draft struct {
	seq, time uint64
	supply    torq.JT
	names     []byte // each behind its length in one byte
	owed      []torq.JT
}

func (d *draft) add(account string, owed torq.JT) {
	d.names = append(append(d.names, byte(len(account))), account...)
	d.owed = append(d.owed, owed)
}

// state makes a statement of a draft.
func (s *Station) state(ctx context.Context, d draft) {
	issued, err := s.makeStatement(ctx, d)
	s.mu.Lock()
	s.stated.making = false
	if err == nil {
		s.stated.any, s.stated.day = true, issued/policy.Day
	} else {
		s.stated.after = uint64(s.Clock.Now().UnixMilli()) + policy.Hour
	}
	s.mu.Unlock()
	var shut *Error
	if err != nil && !errors.As(err, &shut) {
		s.log.Error("the statement of solvency of the day was not made; it is tried again in an hour", "error", err)
	}
}

func (s *Station) makeStatement(ctx context.Context, d draft) (issued uint64, err error) {
	secret, err := s.secret(ctx)
	if err != nil {
		return 0, err
	}
	tree, err := d.tree(secret, s.Origin)
	if err != nil {
		return 0, err
	}
	issued = max(uint64(s.Clock.Now().UnixMilli()), d.time)
	statement := tree.Statement(s.Origin, d.seq, issued)
	if err := solvency.CheckBacking(statement, d.supply); err != nil {
		return 0, err
	}
	env, err := s.Signer.Sign(proof.TypeSolvency, statement.Encode())
	if err != nil {
		return 0, err
	}
	raw, err := env.EncodeCBOR()
	if err != nil {
		return 0, err
	}
	if err := s.saveLeaves(ctx, d.seq, tree); err != nil {
		return 0, err
	}
	return issued, s.do(ctx, &job{save: func(ctx context.Context, tx *sql.Tx, _ uint64) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO vault_solvency (seq, issued, envelope, top) VALUES (?, ?, ?, ?)", int64(d.seq), int64(issued), raw, tree.Top())
		if err != nil {
			return err
		}
		// Only the newest is shown to members.
		if _, err := tx.ExecContext(ctx, "UPDATE vault_solvency SET top = NULL WHERE seq < ?", int64(d.seq)); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM vault_leaf WHERE seq < ?", int64(d.seq)); err != nil {
			return err
		}
		return s.announceStatement(ctx, tx, raw)
	}})
}

func (d draft) tree(secret []byte, origin string) (*solvency.Tree, error) {
	key, err := solvency.NewKey(secret, origin, d.seq)
	if err != nil {
		return nil, err
	}
	b := solvency.NewBuilder(key, len(d.owed))
	for i, at := 0, 0; i < len(d.owed); i++ {
		end := at + 1 + int(d.names[at])
		if err := b.Add(string(d.names[at+1:end]), d.owed[i]); err != nil {
			return nil, err
		}
		at = end
	}
	return b.Build()
}

// saveLeaves writes the leaves, some at a time so that orders go on. Those of a
// statement that was not finished are written over.
func (s *Station) saveLeaves(ctx context.Context, seq uint64, tree *solvency.Tree) error {
	const some = 64
	for from := 0; from < tree.Blocks() || from == 0; from += some {
		err := s.do(ctx, &job{save: func(ctx context.Context, tx *sql.Tx, _ uint64) error {
			if from == 0 {
				if _, err := tx.ExecContext(ctx, "DELETE FROM vault_leaf WHERE seq NOT IN (SELECT seq FROM vault_solvency WHERE top IS NOT NULL)"); err != nil {
					return err
				}
			}
			for i := from; i < min(from+some, tree.Blocks()); i++ {
				if _, err := tx.ExecContext(ctx, "INSERT INTO vault_leaf (seq, block, leaves) VALUES (?, ?, ?)", int64(seq), i, tree.Block(i)); err != nil {
					return err
				}
			}
			return nil
		}})
		if err != nil {
			return err
		}
	}
	return nil
}

// secret is what blinds accounts in statements; it is made when it is first needed.
func (s *Station) secret(ctx context.Context) (secret []byte, err error) {
	read := func(ctx context.Context, tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, "SELECT secret FROM vault_secret WHERE name = ?", SolvencySecret).Scan(&secret)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	}
	if err := s.DB.View(ctx, read); err != nil || secret != nil {
		return secret, err
	}
	fresh := make([]byte, 32)
	rand.Read(fresh) // never fails (crypto/rand)
	return fresh, s.do(ctx, &job{save: func(ctx context.Context, tx *sql.Tx, _ uint64) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO vault_secret (name, secret) VALUES (?, ?)", SolvencySecret, fresh)
		return err
	}})
}

// SolvencySecret is the name of the secret that blinds accounts in statements.
const SolvencySecret = "solvency"

// Solvency is the newest statement's posting and a member's place in it.
func (s *Station) Solvency(ctx context.Context, account string) (seq uint64, in solvency.Inclusion, err error) {
	err = s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var raw, top, secret []byte
		err := tx.QueryRowContext(ctx, `SELECT v.envelope, v.top, k.secret FROM vault_solvency v, vault_secret k
			WHERE v.top IS NOT NULL AND k.name = ? ORDER BY v.seq DESC LIMIT 1`, SolvencySecret).Scan(&raw, &top, &secret)
		if errors.Is(err, sql.ErrNoRows) {
			return &Error{Code: CodeNoStatement, Detail: "no statement of solvency was made yet: the first one comes with the first dividend"}
		}
		if err != nil {
			return err
		}
		statement, err := decodeStatement(raw)
		if err != nil {
			return err
		}
		seq = statement.Seq
		key, err := solvency.NewKey(secret, s.Origin, seq)
		if err != nil {
			return err
		}
		tree, err := solvency.OpenStored(key, statement.Wallets, top, func(block int) (leaves []byte, err error) {
			err = tx.QueryRowContext(ctx, "SELECT leaves FROM vault_leaf WHERE seq = ? AND block = ?", int64(seq), block).Scan(&leaves)
			return leaves, err
		})
		if err != nil {
			return err
		}
		in, err = tree.Prove(account)
		if solvency.HasCode(err, solvency.CodeUnknown) {
			return &ledger.Error{Code: ledger.CodeUnknownAccount, Operation: -1,
				Detail: fmt.Sprintf("%s had no wallet yet when the statement was made, at posting %d", account, seq)}
		}
		return err
	})
	return seq, in, err
}

// CodeNoStatement says that there is no statement of solvency yet.
const CodeNoStatement Code = "no_statement"

func decodeStatement(raw []byte) (proof.Solvency, error) {
	env, err := seal.DecodeEnvelope(raw)
	if err != nil {
		return proof.Solvency{}, err
	}
	return proof.DecodeSolvency(env.Payload)
}

// announceStatement hands a signed statement to the mint.
func (s *Station) announceStatement(ctx context.Context, tx *sql.Tx, raw []byte) error {
	subject, err := bus.SubjectVault("solvency")
	if err != nil {
		return err
	}
	_, err = s.Outbox.Append(ctx, tx, subject, bus.Trace{}, raw)
	return err
}
