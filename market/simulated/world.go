// Package simulated is a Lightning node and a bitcoin node that exist in this
// process alone: for a first look without daemons, and for tests that need to
// lose a reply, turn the chain back or spend a coin behind the coordinator's back.
//
// Nothing here is worth anything, and everything says so: invoices begin with
// "lnsimulated", raw transactions are readable JSON. It refuses to be made for the
// main network. It follows the contracts of package rails to the letter, so that
// the core cannot tell the difference; that the daemons do too is what their own
// packages test.
package simulated

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	"robotorq.org/reserve/market/address"
	"robotorq.org/reserve/market/rails"
)

// World is both rails. All methods may be called from any goroutine.
type World struct {
	mu   sync.Mutex
	path string // where it is kept; "": nowhere
	now  func() int64
	s    state
	wake chan struct{} // closed and replaced at every change

	// Before is called with the name of a call before anything happens, After when it has
	// happened; an error is returned to the caller in its place. Set them before use.
	Before func(op string) error
	After  func(op string) error
}

// state is what is kept.
type state struct {
	Network  address.Network
	Invoices map[string]*invoice // by hash
	Payments map[string]*rails.Payment
	Foreign  map[string]int64 // invoices of others by hash, their sats
	Local    int64            // Lightning sats of ours
	Inbound  int64
	Coins    map[string]*coin // wallet coins by outpoint
	Mempool  []string
	Txs      map[string]*tx
	Blocks   []block
	Fee      rails.FeeRate
	Refused  map[string]string // addresses that the node will not pay
	Serial   int64
}

type invoice struct {
	rails.Invoice
	Preimage rails.Preimage
}

type coin struct {
	Sats   int64
	Locked bool
	From   string // the transaction that made it
}

// tx is a transaction. Its id is the double SHA-256 of its JSON, as of a real one's bytes.
type tx struct {
	Simulated string           `json:"simulated"`
	Inputs    []rails.Outpoint `json:"inputs"`
	Outputs   []rails.Output   `json:"outputs"`
	Change    int64            `json:"change"`
	Fee       int64            `json:"fee"`
	VSize     int64            `json:"vsize"`
}

type block struct {
	Hash string
	Txs  []string
}

// New makes a world with some coins and channels, kept at path unless it is empty. now is in Unix
// milliseconds.
func New(n address.Network, path string, now func() int64) (*World, error) {
	if n == address.Bitcoin {
		return nil, errors.New("simulated: not on the main network; configure bitcoind and lnd")
	}
	w := &World{path: path, now: now, wake: make(chan struct{})}
	if path != "" {
		data, err := os.ReadFile(path)
		if err == nil {
			if err = json.Unmarshal(data, &w.s); err == nil && w.s.Network != n {
				err = fmt.Errorf("%s is of network %s", path, w.s.Network)
			}
			return w, err
		}
		if !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	w.s = state{
		Network: n, Invoices: map[string]*invoice{}, Payments: map[string]*rails.Payment{}, Foreign: map[string]int64{},
		Local: 50_000_000, Inbound: 500_000_000, Coins: map[string]*coin{}, Txs: map[string]*tx{}, Fee: 2_000, Refused: map[string]string{},
	}
	w.mine(110)
	for range 20 {
		w.fund(100_000_000)
	}
	return w, w.changed()
}

// changed wakes those that wait and keeps the world.
func (w *World) changed() error {
	close(w.wake)
	w.wake = make(chan struct{})
	if w.path == "" {
		return nil
	}
	data, err := json.Marshal(w.s)
	if err != nil {
		return err
	}
	if err := os.WriteFile(w.path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(w.path+".new", w.path)
}

// do runs one call under the lock, with the faults that a test asked for around it.
func (w *World) do(op string, f func() error) error {
	if w.Before != nil {
		if err := w.Before(op); err != nil {
			return err
		}
	}
	w.mu.Lock()
	err := f()
	if err == nil && changes[op] {
		err = w.changed()
	}
	w.mu.Unlock()
	if err == nil && w.After != nil {
		err = w.After(op)
	}
	return err
}

// changes are the calls that change the world.
var changes = map[string]bool{"create invoice": true, "settle hold": true, "cancel invoice": true, "pay": true, "build": true, "bump": true, "broadcast": true, "unlock": true}

func fault(class rails.Class, op, format string, args ...any) error {
	return &rails.Error{Class: class, Op: op, Reason: fmt.Sprintf(format, args...)}
}

func (w *World) serial() string {
	w.s.Serial++
	sum := sha256.Sum256(fmt.Appendf(nil, "simulated %d", w.s.Serial))
	return hex.EncodeToString(sum[:])
}

func key(o rails.Outpoint) string { return fmt.Sprintf("%s:%d", o.Txid, o.Vout) }

func (w *World) fund(sats int64) rails.Outpoint {
	o := rails.Outpoint{Txid: w.serial()}
	w.s.Coins[key(o)] = &coin{Sats: sats}
	return o
}

func (w *World) mine(n int) {
	for range n {
		w.s.Blocks = append(w.s.Blocks, block{Hash: w.serial(), Txs: w.s.Mempool})
		w.s.Mempool = nil
	}
}

// Simulated says so.
func (w *World) Simulated() bool { return true }

// control runs what a test or the demo does to the world.
func (w *World) control(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
	if err := w.changed(); err != nil {
		panic("simulated: the world cannot be kept: " + err.Error())
	}
}

// Mine makes blocks; the first takes the whole memory pool.
func (w *World) Mine(n int) { w.control(func() { w.mine(n) }) }

// Reorganise takes the newest blocks away, puts what they held back into the memory pool, and
// makes as many and one more empty ones in their place.
func (w *World) Reorganise(depth int) {
	w.control(func() {
		keep := len(w.s.Blocks) - depth
		pool := w.s.Mempool
		for _, b := range w.s.Blocks[keep:] {
			pool = append(pool, b.Txs...)
		}
		w.s.Blocks, w.s.Mempool = w.s.Blocks[:keep], nil
		w.mine(depth + 1)
		w.s.Mempool = pool
	})
}

// SetFee sets what the node estimates.
func (w *World) SetFee(rate rails.FeeRate) { w.control(func() { w.s.Fee = rate }) }

// SetInbound sets what the channels can receive.
func (w *World) SetInbound(sats int64) { w.control(func() { w.s.Inbound = sats }) }

// SetCoins replaces the coins of the wallet.
func (w *World) SetCoins(sats ...int64) {
	w.control(func() {
		clear(w.s.Coins)
		for _, s := range sats {
			w.fund(s)
		}
	})
}

// RefuseAddress makes the node refuse to pay an address; an empty reason lets it again.
func (w *World) RefuseAddress(a, reason string) {
	w.control(func() {
		if w.s.Refused[a] = reason; reason == "" {
			delete(w.s.Refused, a)
		}
	})
}

// Forget drops transactions from the memory pool, as a restarted or full node may.
func (w *World) Forget() { w.control(func() { w.s.Mempool = nil }) }

// Steal spends a coin of the wallet by a transaction of somebody else, in the memory pool, from
// which it pushes others.
func (w *World) Steal(o rails.Outpoint) (txid string) {
	w.control(func() {
		t := &tx{Simulated: "foreign " + w.serial(), Inputs: []rails.Outpoint{o}, Fee: 1_000_000, VSize: 100}
		txid, _ = w.add(t)
		w.evict(t.Inputs, txid)
		w.s.Mempool = append(w.s.Mempool, txid)
	})
	return txid
}

// Paid sums what confirmed transactions pay to each address.
func (w *World) Paid() map[string]int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	paid := map[string]int64{}
	for _, b := range w.s.Blocks {
		for _, id := range b.Txs {
			for _, o := range w.s.Txs[id].Outputs {
				paid[o.Address] += o.Sats
			}
		}
	}
	return paid
}

// Mempool lists what waits for a block.
func (w *World) Mempool() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.s.Mempool...)
}
