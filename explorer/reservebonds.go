package explorer

import (
	"context"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/proof"
)

// ReserveBonds implements [api.Records]. Serials have no gaps.
func (e *Explorer) ReserveBonds(ctx context.Context, page api.Page) (list api.List[api.Bond], err error) {
	s, err := e.attached()
	if err != nil {
		return list, err
	}
	n := limit(page)
	var found []ledger.Bond
	s.Vault.With(func(b *ledger.Book, _ *proof.Registry) {
		last := b.State().BondCount
		var from uint64
		if from, err = number(page.Cursor, last); err != nil || from > last {
			err = badCursor()
			return
		}
		for ; from > 0 && len(found) <= n; from-- {
			if bond, ok := b.Bond(from); ok {
				found = append(found, bond)
			}
		}
	})
	if err != nil {
		return list, err
	}
	shown := cut(found, n, func(b ledger.Bond) string { return decimal(b.Serial) })
	list = api.List[api.Bond]{Items: []api.Bond{}, Next: shown.Next}
	for _, bond := range shown.Items {
		one, err := e.bond(ctx, s, bond)
		if err != nil {
			return list, err
		}
		list.Items = append(list.Items, one)
	}
	return list, nil
}
