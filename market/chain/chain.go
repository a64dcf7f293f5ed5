// Package chain speaks with bitcoind over JSON-RPC, with the standard library
// alone: it is the marketplace's rail for payouts (the marketplace specification,
// section 3, rules 11 to 13). It implements rails.Chain.
//
// It makes and signs a transaction and locks its inputs in the wallet's file, so
// that the caller can write the bytes down before anybody sees them; it gives
// bytes to the network and says what the node answered; it tells what
// reorganisations took back. It holds no state: what survives a crash is the
// caller's record and the wallet's locks.
//
// It trusts the node with the coins and with the chain. It does not trust the
// wallet to have understood: a transaction that does not pay exactly what was
// asked for, or costs more than was allowed, is never handed out. Amounts travel
// as decimal strings made from integers.
package chain

import (
	"context"
	"fmt"
	"net/http"

	"robotorq.org/reserve/market/address"
	"robotorq.org/reserve/market/rails"
)

// Options says where the node is.
type Options struct {
	// URL has the credentials and the wallet's path: http://user:password@host:port/wallet/name.
	// The wallet must serve payouts alone.
	URL string
	// Network that the node must be on.
	Network address.Network
	// HTTP is the client to use; nil is one with a patience of two minutes.
	HTTP *http.Client
}

// Node is a bitcoind with a wallet.
type Node struct {
	rpc     *rpc
	network address.Network
}

// Dial reaches a node. It is Invalid when the node is on another network, has no
// such wallet or one that cannot sign, and Unavailable when it does not answer.
func Dial(ctx context.Context, o Options) (*Node, error) {
	const op = "dial bitcoind"
	client, err := newRPC(o.URL, o.HTTP)
	if err != nil {
		return nil, err
	}
	n := &Node{rpc: client, network: o.Network}
	network, err := n.Network(ctx)
	if err != nil {
		return nil, classify(op, err)
	}
	if network != string(o.Network) {
		return nil, &rails.Error{Class: rails.Invalid, Op: op,
			Reason: fmt.Sprintf("the node is on the network %s, not %s", network, o.Network)}
	}
	var wallet struct {
		Keys bool `json:"private_keys_enabled"`
	}
	err = n.rpc.call(ctx, &wallet, "getwalletinfo")
	if r, ok := refused(err, codeNoWallet, codeWhichWallet); ok {
		return nil, &rails.Error{Class: rails.Invalid, Op: op,
			Reason: "name a loaded wallet in the address's path, as in /wallet/payout", Err: r}
	}
	if err != nil {
		return nil, classify(op, err)
	}
	if !wallet.Keys {
		return nil, &rails.Error{Class: rails.Invalid, Op: op, Reason: "the wallet holds no keys and cannot sign"}
	}
	return n, nil
}

// Network implements rails.Chain.
func (n *Node) Network(ctx context.Context) (string, error) {
	var info struct{ Chain string }
	if err := n.rpc.call(ctx, &info, "getblockchaininfo"); err != nil {
		return "", classify("network", err)
	}
	names := map[string]address.Network{"main": address.Bitcoin, "test": address.Testnet, "testnet4": address.Testnet,
		"signet": address.Signet, "regtest": address.Regtest}
	if name, ok := names[info.Chain]; ok {
		return string(name), nil
	}
	return info.Chain, nil
}

// Tip implements rails.Chain.
func (n *Node) Tip(ctx context.Context) (rails.Block, error) {
	var info struct {
		Hash   string `json:"bestblockhash"`
		Height int64  `json:"blocks"`
	}
	err := n.rpc.call(ctx, &info, "getblockchaininfo")
	return rails.Block{Hash: info.Hash, Height: info.Height}, classify("tip", err)
}

// EstimateFee implements rails.Chain.
func (n *Node) EstimateFee(ctx context.Context, blocks int) (rails.FeeRate, error) {
	const op = "estimate fee"
	const soonest, latest = 1, 1008
	var estimate struct {
		Rate *amount `json:"feerate"` // per 1,000 virtual bytes, as ours
	}
	if err := n.rpc.call(ctx, &estimate, "estimatesmartfee", min(max(blocks, soonest), latest)); err != nil {
		return 0, classify(op, err)
	}
	var pool struct {
		Least amount `json:"mempoolminfee"`
		Relay amount `json:"minrelaytxfee"`
	}
	if err := n.rpc.call(ctx, &pool, "getmempoolinfo"); err != nil {
		return 0, classify(op, err)
	}
	rate := max(pool.Least, pool.Relay)
	if estimate.Rate != nil {
		rate = max(rate, *estimate.Rate)
	}
	return rails.FeeRate(rate), nil
}

// Balance implements rails.Chain.
func (n *Node) Balance(ctx context.Context) (rails.ChainBalance, error) {
	const op = "balance"
	var coins []struct {
		Amount        amount
		Confirmations int64
		Spendable     bool
		Safe          bool
	}
	if err := n.rpc.call(ctx, &coins, "listunspent", 0); err != nil {
		return rails.ChainBalance{}, classify(op, err)
	}
	var b rails.ChainBalance
	for _, coin := range coins {
		switch {
		case !coin.Spendable || !coin.Safe:
		case coin.Confirmations > 0:
			b.ConfirmedSats += int64(coin.Amount)
		default:
			b.UnconfirmedSats += int64(coin.Amount)
		}
	}
	locked, err := n.Locked(ctx)
	if err != nil {
		return rails.ChainBalance{}, classify(op, err)
	}
	for _, at := range locked {
		coin, err := n.coin(ctx, at)
		if err != nil {
			return rails.ChainBalance{}, classify(op, err)
		}
		if coin != nil {
			b.LockedSats += int64(coin.Value)
		}
	}
	return b, nil
}

// coin is an output that is unspent in the best chain and the memory pool, or nil.
type coin struct{ Value amount }

func (n *Node) coin(ctx context.Context, at rails.Outpoint) (*coin, error) {
	var c *coin
	err := n.rpc.call(ctx, &c, "gettxout", at.Txid, at.Vout, true)
	return c, err
}

// outpoint is an outpoint as bitcoind writes it.
type outpoint struct {
	Txid string `json:"txid"`
	Vout uint32 `json:"vout"`
}

// Locked implements rails.Chain.
func (n *Node) Locked(ctx context.Context) ([]rails.Outpoint, error) {
	var listed []outpoint
	if err := n.rpc.call(ctx, &listed, "listlockunspent"); err != nil {
		return nil, classify("locked inputs", err)
	}
	all := make([]rails.Outpoint, 0, len(listed))
	for _, o := range listed {
		all = append(all, rails.Outpoint(o))
	}
	return all, nil
}

// Unlock implements rails.Chain.
func (n *Node) Unlock(ctx context.Context, inputs []rails.Outpoint) error {
	locked, err := n.Locked(ctx)
	if err != nil {
		return classify("unlock", err)
	}
	is := make(map[rails.Outpoint]bool, len(locked))
	for _, o := range locked {
		is[o] = true
	}
	for _, o := range inputs {
		if !is[o] {
			continue
		}
		// One at a time: bitcoind frees none if it does not like one, and an input may
		// have been spent or freed since it was listed.
		err := n.rpc.call(ctx, nil, "lockunspent", true, []outpoint{outpoint(o)})
		if _, no := refused(err); err != nil && !no {
			return classify("unlock", err)
		}
	}
	return nil
}
