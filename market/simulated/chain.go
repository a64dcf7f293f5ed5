package simulated

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"robotorq.org/reserve/market/address"
	"robotorq.org/reserve/market/rails"
)

// Chain is the bitcoin side of the world.
func (w *World) Chain() rails.Chain { return chain{w} }

type chain struct{ *World }

const (
	inputVBytes = 68
	frameVBytes = 11
	changeVByte = 31
	relayFee    = 1_000
	maxVSize    = 100_000
)

func (c chain) Network(context.Context) (network string, err error) {
	err = c.do("network", func() error { network = string(c.s.Network); return nil })
	return network, err
}

func (c chain) Tip(context.Context) (b rails.Block, err error) {
	err = c.do("tip", func() error { b = c.blockAt(len(c.s.Blocks) - 1); return nil })
	return b, err
}

func (w *World) blockAt(i int) rails.Block {
	return rails.Block{Hash: w.s.Blocks[i].Hash, Height: int64(i)}
}

func (c chain) EstimateFee(context.Context, int) (rate rails.FeeRate, err error) {
	err = c.do("estimate fee", func() error { rate = c.s.Fee; return nil })
	return rate, err
}

// confirmed tells in which block a transaction is; -1: in none.
func (w *World) confirmed(txid string) int {
	for i := len(w.s.Blocks) - 1; i >= 0; i-- {
		if slices.Contains(w.s.Blocks[i].Txs, txid) {
			return i
		}
	}
	return -1
}

// spender finds who spends an output, in a block or in the memory pool.
func (w *World) spender(o rails.Outpoint) (txid string, ok bool) {
	for id, t := range w.s.Txs {
		if slices.Contains(t.Inputs, o) && (w.confirmed(id) >= 0 || slices.Contains(w.s.Mempool, id)) {
			return id, true
		}
	}
	return "", false
}

func (c chain) Balance(context.Context) (b rails.ChainBalance, err error) {
	err = c.do("balance", func() error {
		for k, coin := range c.s.Coins {
			switch {
			case coin.Locked:
				b.LockedSats += coin.Sats
			case coin.From != "" && c.confirmed(coin.From) < 0:
				b.UnconfirmedSats += coin.Sats
			case c.free(k, coin):
				b.ConfirmedSats += coin.Sats
			}
		}
		return nil
	})
	return b, err
}

// free tells whether a coin can be spent.
func (w *World) free(k string, coin *coin) bool {
	if coin.Locked || coin.From != "" && w.confirmed(coin.From) < 0 {
		return false
	}
	_, spent := w.spender(outpoint(k))
	return !spent
}

func outpoint(k string) rails.Outpoint {
	id, n, _ := strings.Cut(k, ":")
	vout, _ := strconv.ParseUint(n, 10, 32)
	return rails.Outpoint{Txid: id, Vout: uint32(vout)}
}

func (w *World) add(t *tx) (id string, raw []byte) {
	raw, err := json.Marshal(t)
	if err != nil {
		panic("simulated: a transaction cannot be written: " + err.Error())
	}
	id = txid(raw)
	w.s.Txs[id] = t
	return id, raw
}

func txid(raw []byte) string {
	once := sha256.Sum256(raw)
	sum := sha256.Sum256(once[:])
	slices.Reverse(sum[:])
	return hex.EncodeToString(sum[:])
}

func (c chain) Build(_ context.Context, r rails.BuildRequest) (b rails.Built, err error) {
	err = c.do("build", func() error { b, err = c.build(r, nil); return err })
	return b, err
}

// build selects the largest coins first until they suffice, beside those that must be in.
func (w *World) build(r rails.BuildRequest, must []rails.Outpoint) (b rails.Built, err error) {
	const op = "build"
	var total, in int64
	size := int64(frameVBytes + changeVByte)
	for i, o := range r.Outputs {
		a, err := address.Parse(w.s.Network, o.Address)
		reason := w.s.Refused[o.Address]
		switch {
		case err != nil:
			reason = err.Error()
		case reason == "" && o.Sats < a.DustSats():
			reason = "dust"
		}
		if reason != "" {
			return b, &rails.Error{Class: rails.Refused, Op: op, Reason: reason, Output: i + 1}
		}
		total, size = total+o.Sats, size+a.OutputVBytes()
	}
	names := slices.SortedFunc(maps.Keys(w.s.Coins), func(x, y string) int {
		return cmp.Or(cmp.Compare(w.s.Coins[y].Sats, w.s.Coins[x].Sats), cmp.Compare(x, y))
	})
	inputs := slices.Clone(must)
	for _, o := range must {
		in, size = in+w.s.Coins[key(o)].Sats, size+inputVBytes
	}
	fee := func() int64 { return (size*int64(r.Rate) + 999) / 1000 }
	need := func() int64 {
		if r.PayeesPay {
			return total
		}
		return total + fee()
	}
	for _, k := range names {
		if len(inputs) > 0 && in >= need() {
			break
		}
		if w.free(k, w.s.Coins[k]) && !slices.Contains(inputs, outpoint(k)) {
			inputs, in, size = append(inputs, outpoint(k)), in+w.s.Coins[k].Sats, size+inputVBytes
		}
	}
	switch {
	case in < need():
		return b, fault(rails.Insufficient, op, "the unlocked coins hold %d sats, %d are needed", in, need())
	case size > maxVSize:
		return b, fault(rails.Refused, op, "%d vB are too many", size)
	case fee() > r.MaxFeeSats:
		return b, fault(rails.Refused, op, "the fee of %d sats is above %d", fee(), r.MaxFeeSats)
	}
	out := slices.Clone(r.Outputs)
	if r.PayeesPay {
		share, rest := fee()/int64(len(out)), fee()%int64(len(out))
		for i := range out {
			out[i].Sats -= share
			if int64(i) < rest {
				out[i].Sats--
			}
			if a, _ := address.Parse(w.s.Network, out[i].Address); out[i].Sats < a.DustSats() {
				return b, &rails.Error{Class: rails.Refused, Op: op, Reason: "dust after the fee", Output: i + 1}
			}
		}
		total -= fee()
	}
	t := &tx{Simulated: w.serial(), Inputs: inputs, Outputs: out, Change: in - total - fee(), Fee: fee(), VSize: size}
	id, raw := w.add(t)
	for _, o := range inputs {
		w.s.Coins[key(o)].Locked = true
	}
	return rails.Built{Raw: raw, Txid: id, Inputs: inputs, Outputs: out, FeeSats: fee(), VSize: size}, nil
}

func (c chain) Bump(_ context.Context, id string, rate rails.FeeRate, most int64) (b rails.Built, err error) {
	const op = "bump"
	err = c.do(op, func() error {
		t := c.s.Txs[id]
		if t == nil {
			return fault(rails.NotFound, op, "the wallet does not know it")
		}
		if !slices.Contains(c.s.Mempool, id) {
			return fault(rails.Refused, op, "it cannot be replaced any more")
		}
		b, err = c.build(rails.BuildRequest{Outputs: t.Outputs, Rate: rate, MaxFeeSats: most}, t.Inputs)
		if err == nil && b.FeeSats <= t.Fee {
			return fault(rails.Refused, op, "the fee does not rise")
		}
		return err
	})
	return b, err
}

func (c chain) Broadcast(_ context.Context, raw []byte) (a rails.Broadcast, err error) {
	err = c.do("broadcast", func() error { a = c.broadcast(raw); return nil })
	return a, err
}

func (w *World) broadcast(raw []byte) rails.Broadcast {
	t := new(tx)
	if err := json.Unmarshal(raw, t); err != nil {
		return rails.Broadcast{State: rails.Rejected, Reason: "TX decode failed"}
	}
	id := txid(raw)
	w.s.Txs[id] = t
	switch {
	case w.confirmed(id) >= 0:
		return rails.Broadcast{State: rails.InBlock}
	case slices.Contains(w.s.Mempool, id):
		return rails.Broadcast{State: rails.InMempool, Reason: "txn-already-in-mempool"}
	case t.Fee*1000 < relayFee*t.VSize:
		return rails.Broadcast{State: rails.Rejected, Reason: "min relay fee not met"}
	}
	for _, o := range t.Inputs {
		by, spent := w.spender(o)
		switch {
		case w.s.Coins[key(o)] == nil, spent && w.confirmed(by) >= 0:
			return rails.Broadcast{State: rails.InputsMissing, Reason: "bad-txns-inputs-missingorspent"}
		case spent && w.s.Txs[by].Fee >= t.Fee:
			return rails.Broadcast{State: rails.Replaced, Reason: "insufficient fee, rejecting replacement"}
		}
	}
	w.evict(t.Inputs, id)
	w.s.Mempool = append(w.s.Mempool, id)
	if t.Change > 0 {
		w.s.Coins[key(rails.Outpoint{Txid: id, Vout: uint32(len(t.Outputs))})] = &coin{Sats: t.Change, From: id}
	}
	return rails.Broadcast{State: rails.InMempool}
}

// evict removes from the memory pool what spends one of the inputs.
func (w *World) evict(inputs []rails.Outpoint, but string) {
	w.s.Mempool = slices.DeleteFunc(w.s.Mempool, func(id string) bool {
		return id != but && slices.ContainsFunc(w.s.Txs[id].Inputs, func(o rails.Outpoint) bool { return slices.Contains(inputs, o) })
	})
}

func (w *World) view(id string) rails.Transaction {
	v := rails.Transaction{Txid: id, InMempool: slices.Contains(w.s.Mempool, id), FeeSats: w.s.Txs[id].Fee}
	if at := w.confirmed(id); at >= 0 {
		v.Confirmations, v.Block = int64(len(w.s.Blocks)-at), w.blockAt(at)
		return v
	}
	for _, o := range w.s.Txs[id].Inputs {
		if by, ok := w.spender(o); ok && by != id {
			v.Conflicts = append(v.Conflicts, by)
			if at := w.confirmed(by); at >= 0 {
				v.Confirmations = -int64(len(w.s.Blocks) - at)
			}
		}
	}
	return v
}

func (c chain) Transaction(_ context.Context, id string) (v rails.Transaction, err error) {
	const op = "look up transaction"
	err = c.do(op, func() error {
		if c.s.Txs[id] == nil {
			return fault(rails.NotFound, op, "the wallet does not know it")
		}
		v = c.view(id)
		return nil
	})
	return v, err
}

func (c chain) SpentBy(_ context.Context, o rails.Outpoint) (v rails.Transaction, ok bool, err error) {
	err = c.do("spender", func() error {
		var by string
		if by, ok = c.spender(o); ok {
			v = c.view(by)
		}
		return nil
	})
	return v, ok, err
}

func (c chain) Since(_ context.Context, hash string) (ch rails.Changes, err error) {
	err = c.do("since", func() error {
		from := 0
		for i, b := range c.s.Blocks {
			if b.Hash == hash {
				from = i + 1
			}
		}
		for i := from; i < len(c.s.Blocks); i++ {
			for _, id := range c.s.Blocks[i].Txs {
				ch.Transactions = append(ch.Transactions, rails.Change{Txid: id, Confirmations: int64(len(c.s.Blocks) - i), Block: c.blockAt(i)})
			}
		}
		for _, id := range c.s.Mempool {
			ch.Transactions = append(ch.Transactions, rails.Change{Txid: id})
		}
		ch.Last = c.blockAt(len(c.s.Blocks) - 1)
		return nil
	})
	return ch, err
}

func (c chain) Locked(context.Context) (out []rails.Outpoint, err error) {
	err = c.do("locked", func() error {
		for k, coin := range c.s.Coins {
			if coin.Locked {
				out = append(out, outpoint(k))
			}
		}
		return nil
	})
	return out, err
}

func (c chain) Unlock(_ context.Context, inputs []rails.Outpoint) error {
	return c.do("unlock", func() error {
		for _, o := range inputs {
			if coin := c.s.Coins[key(o)]; coin != nil {
				coin.Locked = false
			}
		}
		return nil
	})
}
