package vault

import (
	"context"
	"database/sql"
	"strings"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/torq"
)

const savingsPrefix = "savings:"

// Savings is what has moved through an owner's savings: Balance = Saved − Left + Yield.
type Savings struct {
	Balance torq.JT
	Saved   torq.JT // from the wallet
	Left    torq.JT // under notice, or paid since
	Yield   torq.JT
}

// Savings sums an owner's savings up, by the account of the wallet. The error is as for
// [Station.Statement].
func (s *Station) Savings(ctx context.Context, account string) (sum Savings, err error) {
	now, err := s.standing(savingsPrefix + account)
	if err != nil {
		return sum, err
	}
	err = s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var in, out int64
		err := tx.QueryRowContext(ctx, `SELECT coalesce(sum(CASE WHEN amount > 0 THEN amount END), 0), coalesce(sum(CASE WHEN amount < 0 THEN amount END), 0)
			FROM vault_entry WHERE account = ? AND seq <= ?`, savingsPrefix+account, int64(now.seq)).Scan(&in, &out)
		sum = Savings{Balance: now.balance, Saved: torq.JT(in), Left: torq.JT(-out)}
		return err
	})
	sum.Yield = sum.Balance - sum.Saved + sum.Left
	return sum, err
}

// balanceOf is what a wallet or an owner's savings hold.
func balanceOf(b *ledger.Book, account string) (torq.JT, bool) {
	if owner, ok := strings.CutPrefix(account, savingsPrefix); ok {
		a, found := b.Account(owner)
		return a.Savings, found
	}
	a, found := b.Account(account)
	return a.Balance, found
}

// yields names what savings gained between two movements.
func yields(account string, kind LineKind) LineKind {
	if kind == LineDividend && strings.HasPrefix(account, savingsPrefix) {
		return LineYield
	}
	return kind
}
