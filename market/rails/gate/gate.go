// Package gate keeps calls back from a daemon until it was seen to be the right
// one. A coordinator starts while its daemons are down, and must not find out
// later that it pays on another network: the first call that gets through asks,
// and what it learns holds for all that follow.
//
// It does no I/O of its own and survives nothing: a new process asks again.
package gate

import (
	"context"
	"sync"

	"robotorq.org/reserve/market/rails"
)

// Gate is closed until its check has passed once. Its methods may be called from
// any goroutine.
type Gate struct {
	check func(context.Context) error

	mu      sync.Mutex
	decided bool
	verdict error
}

// New is a gate with a check. The check's error is Invalid when the daemon is the
// wrong one for good, and anything else when nothing was learnt; it may run more
// than once at the same time.
func New(check func(context.Context) error) *Gate { return &Gate{check: check} }

// Pass lets a call through: nil once the check has passed, the same Invalid error
// for ever once it has failed, and the check's error of now as long as nothing was
// learnt.
func (g *Gate) Pass(ctx context.Context) error {
	if decided, verdict := g.known(); decided {
		return verdict
	}
	err := g.check(ctx)
	if err != nil && rails.ClassOf(err) != rails.Invalid {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.decided {
		g.decided, g.verdict = true, err
	}
	return g.verdict
}

func (g *Gate) known() (bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.decided, g.verdict
}
