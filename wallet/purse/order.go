package purse

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/client"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/wallet"
)

// Order is a fresh order of the account, made now, for the reserve that it has met.
func (p *Purse) Order(expires time.Duration, operations ...ledger.Operation) (ledger.Order, error) {
	now := p.clock.Now()
	return wallet.NewOrder(p.Origin(), p.account, uint64(now.UnixMilli()), uint64(now.Add(expires).UnixMilli()), operations...)
}

// Sign signs an order with every key of the account.
func (p *Purse) Sign(o ledger.Order) (seal.Envelope, error) {
	if p.keys == nil {
		return seal.Envelope{}, &wallet.Error{Code: wallet.CodeWatchOnly, Detail: p.account + " is only watched by " + p.path + ": its keys are elsewhere"}
	}
	return wallet.SignOrder(o, p.keys)
}

// Execute makes an order, signs it, delivers it and keeps its receipt.
func (p *Purse) Execute(ctx context.Context, expires time.Duration, operations ...ledger.Operation) (api.Receipt, error) {
	o, err := p.Order(expires, operations...)
	if err != nil {
		return api.Receipt{}, err
	}
	env, err := p.Sign(o)
	if err != nil {
		return api.Receipt{}, err
	}
	return p.Deliver(ctx, env, o)
}

// Doubt is an order whose outcome is not known: no answer came that can be believed. The
// order lies in a file and may be sent again as it is; it is done once.
type Doubt struct {
	Path string
	Err  error
}

// Error implements error.
func (d *Doubt) Error() string {
	return fmt.Sprintf("whether the order was done is not known: %v. Send it again with `robotorq wallet send --again %s`; it is done once", d.Err, d.Path)
}

// Unwrap returns what came instead of an answer.
func (d *Doubt) Unwrap() error { return d.Err }

// Deliver sends an order until it is answered, checks the receipt and keeps it. The order
// lies beside the wallet before it is sent, and is taken away when what became of it is
// certain; when it cannot be kept nothing is sent. When no answer comes that can be
// believed the error is a *[Doubt]. An order that lay there before stays.
func (p *Purse) Deliver(ctx context.Context, env seal.Envelope, o ledger.Order) (api.Receipt, error) {
	id := hex.EncodeToString(o.ID[:])
	body, err := json.Marshal(env)
	if err != nil {
		return api.Receipt{}, err
	}
	path, forget, err := p.keepOrder(id, body)
	if err != nil {
		return api.Receipt{}, err
	}
	receipt, err := Insist(ctx, p.clock, func() (api.Receipt, error) { return p.client.Order(ctx, body, id) })
	switch {
	case err == nil:
		if err := p.checkReceipt(receipt, o); err != nil {
			return receipt, &Doubt{path, err}
		}
		err := p.keepReceipt(KeptReceipt{Account: o.From, Order: env, Receipt: receipt.Envelope})
		return receipt, errors.Join(err, forget())
	case WasRefused(err) && client.Is(err, api.CodeBadSignature):
		return receipt, errors.Join(Explain(err), forget())
	case WasRefused(err):
		return receipt, errors.Join(err, forget())
	}
	return receipt, &Doubt{path, err}
}

// keepOrder writes an order down before it is sent. forget takes it away again, unless it
// was there before.
func (p *Purse) keepOrder(id string, body []byte) (path string, forget func() error, err error) {
	path = filepath.Join(filepath.Dir(p.path), "order-"+id+".json")
	if _, err := os.Stat(path); err == nil {
		return path, func() error { return nil }, nil
	}
	return path, func() error { return os.Remove(path) }, wallet.Replace(path, append(body, '\n'), 0o600)
}

// KeptOrder is an order of the account that was kept because no answer came.
type KeptOrder struct {
	Path     string
	Order    ledger.Order
	Envelope seal.Envelope
}

// ReadOrder reads a kept order. It verifies nothing.
func ReadOrder(path string) (KeptOrder, error) {
	k := KeptOrder{Path: path}
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &k.Envelope)
	}
	if err == nil {
		k.Order, err = ledger.OrderFrom(k.Envelope)
	}
	if err != nil {
		return k, fmt.Errorf("%s holds no order: %w", path, err)
	}
	return k, nil
}

// KeptOrders are the account's orders that lie beside the wallet, the oldest first. A
// file that cannot be read as one is left out.
func (p *Purse) KeptOrders() (kept []KeptOrder, err error) {
	names, err := filepath.Glob(filepath.Join(filepath.Dir(p.path), "order-*.json"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if k, err := ReadOrder(name); err == nil && k.Order.From == p.account {
			kept = append(kept, k)
		}
	}
	slices.SortFunc(kept, func(a, b KeptOrder) int { return cmp.Compare(a.Order.Created, b.Order.Created) })
	return kept, nil
}

// Outcome is what became of an order that had been in doubt.
type Outcome string

// Outcomes.
const (
	OutcomeDone    Outcome = "done"    // it is posted, the receipt is kept
	OutcomePending Outcome = "pending" // not done so far, and may still be until it expires
	OutcomeVoid    Outcome = "void"    // not done, and never will be
)

// Settle sends a kept order again and finds out what became of it. It is forgotten when
// that is known for good; the error is a *[Doubt] while there is no answer.
func (p *Purse) Settle(ctx context.Context, k KeptOrder) (api.Receipt, Outcome, error) {
	receipt, err := p.Deliver(ctx, k.Envelope, k.Order)
	if err == nil {
		return receipt, OutcomeDone, os.Remove(k.Path)
	}
	if !AnsweredBy(err) {
		return receipt, OutcomePending, err
	}
	// A no is not about the time when it was sent before: the books are asked for that.
	_, posted := p.client.PostedOrder(ctx, k.Order.From, hex.EncodeToString(k.Order.ID[:]))
	switch {
	case posted == nil:
		return receipt, OutcomeDone, fmt.Errorf("the books hold the order, but its receipt was not given: %w", err)
	case !client.Is(posted, api.CodeNotFound):
		return receipt, OutcomePending, &Doubt{k.Path, posted}
	case client.Is(err, api.CodeExpired):
		return receipt, OutcomeVoid, errors.Join(err, os.Remove(k.Path))
	}
	return receipt, OutcomePending, err
}
