package ledger

import (
	"iter"

	"robotorq.org/reserve/torq"
)

// Owed yields every wallet with all that its owner is owed at the last posting: what it
// holds, what it has saved, and what is under notice.
func (b *Book) Owed() iter.Seq2[string, torq.JT] {
	leaving := make(map[string]torq.JT)
	for _, number := range b.notices.keys() {
		n, _ := b.notices.get(number)
		leaving[n.Owner] += floorValue(n.Shares, b.demurrageIndex())
	}
	return func(yield func(string, torq.JT) bool) {
		for n := range b.wallets.all() {
			account := b.wallets.account(n)
			if !yield(account, b.valueOf(n)+b.savedBy(n)+leaving[account]) {
				return
			}
		}
	}
}
