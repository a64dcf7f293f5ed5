package vault_test

import (
	"errors"
	"testing"

	"robotorq.org/reserve/vault"
)

// A member whose order comes while the books cannot be read is not told that nobody knows it.
func TestWhileTheBooksCannotBeReadNobodyIsUnknown(t *testing.T) {
	h := richHouse(t)
	order := h.signed("member:ada", send("member:bob", 7))
	back := h.LeaveBooks()
	unavailable := func(what string, err error) {
		t.Helper()
		var e *vault.Error
		if !errors.As(err, &e) || e.Code != vault.CodeUnavailable {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := h.Order(t.Context(), order)
	unavailable("an order", err)
	_, err = h.KeysOf("member:ada", h.clock.ms())
	unavailable("keys", err)
	back()
	if _, err := h.Order(t.Context(), order); err != nil {
		t.Errorf("the same order when they are back: %v", err)
	}
}
