package explorer

import (
	"fmt"
	"strconv"
	"strings"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/vault"
)

func badCursor() error {
	return api.Errorf(api.CodeCursorInvalid, "The cursor is not one of this list. Start at its first page.")
}

// limit is how many items a page may have.
func limit(p api.Page) int { return max(1, min(p.Limit, api.MaxPage)) }

// number reads a cursor that is a number in its only form; first is the number of
// the first page.
func number(cursor string, first uint64) (uint64, error) {
	if cursor == "" {
		return first, nil
	}
	n, err := strconv.ParseUint(cursor, 10, 63)
	if err != nil || decimal(n) != cursor {
		return 0, badCursor()
	}
	return n, nil
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

// place reads the cursor of a statement, "<posting>.<lines before>".
func place(cursor string) (vault.Place, error) {
	if cursor == "" {
		return vault.Place{}, nil
	}
	seq, skip, ok := strings.Cut(cursor, ".")
	n, err := strconv.ParseUint(seq, 10, 63)
	k, err2 := strconv.ParseUint(skip, 10, 31)
	p := vault.Place{Seq: n, Skip: int(k)}
	if !ok || err != nil || err2 != nil || n == 0 || placeCursor(p) != cursor {
		return vault.Place{}, badCursor()
	}
	return p, nil
}

// placeCursor is the cursor of a place, "" for none.
func placeCursor(p vault.Place) string {
	if p == (vault.Place{}) {
		return ""
	}
	return fmt.Sprintf("%d.%d", p.Seq, p.Skip)
}

// contractNumber is the number in a contract id, 0 when there is none.
func contractNumber(id string) uint64 {
	_, n, err := proof.ParseContractID(id)
	if err != nil {
		return 0
	}
	return n
}

// cut makes a list of at most n items of one more, whose cursor is the next page's.
func cut[T any](items []T, n int, cursor func(T) string) api.List[T] {
	list := api.List[T]{Items: items}
	if len(items) > n {
		list.Items, list.Next = items[:n], cursor(items[n])
	}
	if list.Items == nil {
		list.Items = []T{}
	}
	return list
}
