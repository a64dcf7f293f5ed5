package node

import (
	"context"
	"fmt"
	"time"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// Code is the stable name of a kind of failure.
type Code string

// Codes of [Error].
const (
	CodeOrigin Code = "other_origin" // the directory is another reserve
	CodePolicy Code = "other_policy" // the reserve was founded on other numbers
)

// Error is a start that was asked for something else than the data directory holds.
type Error struct {
	Code   Code
	Detail string
}

// Error says what differs and what to do.
func (e *Error) Error() string { return e.Detail }

// ErrorCode returns the stable code.
func (e *Error) ErrorCode() string { return string(e.Code) }

// Running is what a reserve tells when everything runs.
type Running struct {
	URL    string // of the page
	Data   string // its directory
	Origin string
	// Named is false when this start made up the origin of a new reserve, which it
	// keeps for good.
	Named bool
	NATS  string // where robots' agents reach the bus; "" when there is no port
}

// running tells how this node is reached.
func (n *Node) running() Running {
	return Running{URL: n.page, Data: n.cfg.Data, Origin: n.identity.Origin, Named: !n.madeUp, NATS: n.bus.URL()}
}

// CheckPolicy tests what is to be laid over the default policy of a new reserve, before
// anything is founded on it.
func CheckPolicy(amend []byte) error {
	_, err := founding("new.example/log", 1, amend)
	return err
}

// founding is the first policy of a reserve.
func founding(origin string, now uint64, amend []byte) (policy.Document, error) {
	d, err := policy.Default(origin, now)
	if err == nil && len(amend) > 0 {
		d, err = policy.Amend(d, amend)
	}
	return d, err
}

// foundingWait is how long a start waits for the first charter and policy to be in the log
// before it says that the reserve runs; witnesses that are required may keep them longer.
const foundingWait = 30 * time.Second

// inForce tells whether the first charter and policy are in the log and have come to the
// vault: nobody is enrolled before.
func (n *Node) inForce() (yes bool) {
	n.vault.With(func(_ *ledger.Book, r *proof.Registry) { _, _, yes = r.Policy(torq.TimeLimitMS) })
	return yes
}

// awaitFounded waits for it, for a while.
func (n *Node) awaitFounded(parent, ctx context.Context) {
	changed, stop := n.vault.DB.Watch()
	defer stop()
	timeout, end := n.clock.NewTimer(foundingWait)
	defer end()
	for !n.inForce() {
		select {
		case <-changed:
		case <-timeout:
			return
		case <-parent.Done():
			return
		case <-ctx.Done():
			return
		}
	}
}

// samePolicy refuses a start with other numbers than those on which the reserve was
// founded or that were announced last: they would be passed over in silence. The same
// ones may stay on the command line for good.
func (n *Node) samePolicy(ctx context.Context) error {
	if len(n.cfg.Policy) == 0 {
		return nil
	}
	envs, err := n.trust.Documents(ctx, proof.TypePolicy)
	if err != nil || len(envs) == 0 {
		return err // it is founded on them now
	}
	var differs []policy.Change
	for _, env := range []seal.Envelope{envs[0], envs[len(envs)-1]} {
		holds, err := policy.Decode(env.Payload)
		if err != nil {
			return err
		}
		asked, err := policy.Amend(holds, n.cfg.Policy)
		if err != nil {
			return err
		}
		if differs = policy.Changes(holds, asked); len(differs) == 0 {
			return nil
		}
	}
	text := ""
	for _, c := range differs {
		text += fmt.Sprintf("; %s is %s, asked for is %s", c.Name, c.From, c.To)
	}
	return &Error{Code: CodePolicy, Detail: fmt.Sprintf("%s runs by another policy than the one given%s: leave --policy away, and announce changes with `robotorq policy`", n.identity.Origin, text)}
}
