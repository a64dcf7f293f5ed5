package audit

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/solvency"
	"robotorq.org/reserve/vault"
)

// stated is a statement of solvency, in the log, in the store, or in both.
type stated struct {
	logged bool
	entry  uint64
	digest merkle.Hash
	says   proof.Solvency

	stored bool
	issued uint64
	env    seal.Envelope
	top    []byte // nil but of the newest
}

// statementLogged takes in a statement.
func (a *auditor) statementLogged(e archive.Entry, env seal.Envelope) error {
	s, err := proof.DecodeSolvency(env.Payload)
	if err != nil {
		return &proof.Fault{Artefact: "statement of solvency", Digest: e.Digest, Rule: "form", Detail: err.Error()}
	}
	name := fmt.Sprintf("statement of solvency at posting %d", s.Seq)
	if s.Origin != a.log.registry.Origin() {
		return &proof.Fault{Artefact: name, Digest: e.Digest, Rule: "origin", Detail: "is of " + s.Origin}
	}
	if _, twice := a.log.statements[s.Seq]; twice {
		return &proof.Fault{Artefact: name, Digest: e.Digest, Rule: "repeated", Detail: fmt.Sprintf("log entry %d is the second one", e.Index)}
	}
	a.log.statements[s.Seq] = &stated{logged: true, entry: e.Index, digest: e.Digest, says: s}
	return a.log.registry.VerifySigned(env, seal.RoleVault, "", s.Issued)
}

// readStatements adds what the store keeps of them.
func (a *auditor) readStatements(ctx context.Context) error {
	err := a.tx.QueryRowContext(ctx, "SELECT secret FROM vault_secret WHERE name = ?", vault.SolvencySecret).Scan(&a.log.secret)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return unreadable("vault_secret", err)
	}
	rows, err := a.tx.QueryContext(ctx, "SELECT seq, issued, envelope, top FROM vault_solvency ORDER BY seq")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var seq, issued uint64
		var raw, top []byte
		if err := rows.Scan(&seq, &issued, &raw, &top); err != nil {
			return unreadable("vault_solvency", err)
		}
		if err := a.statementStored(seq, issued, raw, top); err != nil {
			return err
		}
		a.sum.Rows++
	}
	return rows.Err()
}

func (a *auditor) statementStored(seq, issued uint64, raw, top []byte) error {
	what := fmt.Sprintf("stored statement of solvency at posting %d", seq)
	env, err := seal.DecodeEnvelope(raw)
	if err != nil {
		return fault(what, "form", "%v", err)
	}
	says, err := proof.DecodeSolvency(env.Payload)
	if err != nil || env.PayloadType != proof.TypeSolvency || says.Seq != seq || says.Issued != issued {
		return fault(what, "stored_statement", "the row is of posting %d at %d, its statement says %d at %d (%v)", seq, issued, says.Seq, says.Issued, err)
	}
	s, logged := a.log.statements[seq]
	if logged && s.digest != env.Digest() {
		return fault(what, "stored_statement", "is %s, log entry %d is %s", env.Digest(), s.entry, s.digest)
	}
	if err := a.log.registry.VerifySigned(env, seal.RoleVault, "", issued); err != nil {
		return fault(what, "signature", "%v", err)
	}
	if !logged {
		s = &stated{says: says}
		a.log.statements[seq] = s
	}
	s.stored, s.issued, s.env, s.top = true, issued, env, top
	return nil
}

// checkStatement builds the tree of a statement again from the books at its posting.
func (a *auditor) checkStatement(ctx context.Context, seq, at uint64) error {
	s, found := a.log.statements[seq]
	if !found {
		return nil
	}
	name := fmt.Sprintf("statement of solvency at posting %d", seq)
	bad := func(rule, format string, args ...any) error {
		return &proof.Fault{Artefact: name, Digest: s.digest, Rule: rule, Detail: fmt.Sprintf(format, args...)}
	}
	if a.log.secret == nil {
		return bad("missing", "the secret that blinds its accounts is not in the store")
	}
	key, err := solvency.NewKey(a.log.secret, a.sum.Origin, seq)
	if err != nil {
		return bad("form", "%v", err)
	}
	book := a.books.auditor.Book()
	b := solvency.NewBuilder(key, int(book.State().Accounts))
	for account, owed := range book.Owed() {
		if err := b.Add(account, owed); err != nil {
			return bad("solvency", "%v", err)
		}
	}
	tree, err := b.Build()
	if err != nil {
		return bad("solvency", "%v", err)
	}
	switch want := tree.Statement(a.sum.Origin, seq, s.says.Issued); {
	case want.Wallets != s.says.Wallets:
		return bad("solvency_wallets", "counts %d wallets, the books have %d", s.says.Wallets, want.Wallets)
	case want.Sum != s.says.Sum:
		return bad("solvency_sum", "says that %d JT are owed, the books owe %d", s.says.Sum, want.Sum)
	case want.Root != s.says.Root:
		return bad("solvency_root", "has root %s, the books make it %s", s.says.Root, want.Root)
	case s.says.Issued < at:
		return bad("solvency_issued", "is of %d, the posting of %d", s.says.Issued, at)
	}
	state := book.State()
	if err := solvency.CheckBacking(s.says, state.Supply()); err != nil {
		return bad("solvency_shortfall", "%v", err)
	}
	a.sum.Statements++
	delete(a.log.statements, seq)
	switch {
	case !s.stored && s.logged:
		return bad("missing", "log entry %d holds it, the store does not", s.entry)
	case !s.logged:
		a.sum.Unlogged++
	}
	return a.checkLeaves(ctx, s, tree, seq)
}

// checkLeaves compares the stored tree of the newest statement.
func (a *auditor) checkLeaves(ctx context.Context, s *stated, tree *solvency.Tree, seq uint64) error {
	if s.top == nil {
		return nil
	}
	what := fmt.Sprintf("leaves of the statement at posting %d", seq)
	if !bytes.Equal(s.top, tree.Top()) {
		return fault(what, "stored_top", "the store's nodes are not those of the books")
	}
	for i := range tree.Blocks() {
		var leaves []byte
		err := a.tx.QueryRowContext(ctx, "SELECT leaves FROM vault_leaf WHERE seq = ? AND block = ?", int64(seq), i).Scan(&leaves)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return unreadable(what, err)
		}
		if !bytes.Equal(leaves, tree.Block(i)) {
			return fault(what, "stored_leaves", "block %d is not what the books make it", i)
		}
	}
	a.log.leaves, a.log.newest = uint64(tree.Blocks()), seq
	a.sum.Rows += a.log.leaves
	return nil
}

// checkLeftStatements finds statements of postings that are not there, and rows that no
// statement makes. Leaves of a later posting are those of one that is being made.
func (a *auditor) checkLeftStatements(ctx context.Context) error {
	for _, seq := range slices.Sorted(maps.Keys(a.log.statements)) {
		if s := a.log.statements[seq]; s.stored || s.entry < a.log.before || seq <= a.books.last.Seq {
			return postingFault(seq, "missing", "the vault has signed a statement of solvency of it; the books end with number %d", a.books.last.Seq)
		}
	}
	var leaves, newest, secrets uint64
	err := a.tx.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM vault_leaf WHERE seq <= ?), (SELECT count(*) FROM vault_solvency WHERE top IS NOT NULL),
		(SELECT count(*) FROM vault_secret WHERE name <> ?)`, int64(a.log.newest), vault.SolvencySecret).Scan(&leaves, &newest, &secrets)
	switch {
	case err != nil:
		return unreadable("vault_leaf", err)
	case leaves != a.log.leaves:
		return fault("vault_leaf", "surplus", "holds %d blocks up to posting %d, the newest statement has %d", leaves, a.log.newest, a.log.leaves)
	case newest > 1 || newest == 0 && a.sum.Statements > 0:
		return fault("vault_solvency", "stored_top", "%d statements have their nodes, the newest one should", newest)
	case secrets > 0:
		return fault("vault_secret", "surplus", "holds %d secrets that nothing uses", secrets)
	}
	return nil
}
