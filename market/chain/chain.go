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
	"robotorq.org/reserve/market/rails/gate"
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

// Dial reaches a node. It is Invalid when the node is on another network or its
// wallet cannot sign. A node that is not there yet, or has not loaded the wallet,
// is no error: every call is Unavailable until it is, and Invalid for ever if it
// then turns out to be the wrong one.
func Dial(ctx context.Context, o Options) (*Node, error) {
	client, err := newRPC(o.URL, o.HTTP)
	if err != nil {
		return nil, err
	}
	n := &Node{rpc: client, network: o.Network}
	client.gate = gate.New(n.right)
	if err := client.gate.Pass(ctx); err != nil && rails.ClassOf(err) == rails.Invalid {
		return nil, err
	}
	return n, nil
}

// right says whether the node and its wallet are those that are wanted.
func (n *Node) right(ctx context.Context) error {
	const op = "dial bitcoind"
	invalid := func(err error, format string, args ...any) error {
		return &rails.Error{Class: rails.Invalid, Op: op, Reason: fmt.Sprintf(format, args...), Err: err}
	}
	network, err := n.networkOf(ctx)
	if err != nil {
		return classify(op, err)
	}
	if network != string(n.network) {
		return invalid(nil, "the node is on the network %s, not %s", network, n.network)
	}
	var wallet struct {
		Keys bool `json:"private_keys_enabled"`
	}
	err = n.rpc.ask(ctx, &wallet, "getwalletinfo")
	if r, ok := refused(err, codeWhichWallet); ok {
		return invalid(r, "name the wallet in the address's path, as in /wallet/payout")
	}
	if err != nil {
		return classify(op, err)
	}
	if !wallet.Keys {
		return invalid(nil, "the wallet holds no keys and cannot sign")
	}
	return nil
}

// Methods are all that this package asks a node for: a user of bitcoind's
// rpcwhitelist needs no other.
func Methods() []string {
	return []string{
		"decodepsbt", "decoderawtransaction", "estimatesmartfee", "finalizepsbt", "getaddressinfo", "getblockchaininfo",
		"getblockheader", "getmempoolentry", "getmempoolinfo", "gettransaction", "gettxout", "gettxspendingprevout",
		"getwalletinfo", "listlockunspent", "listsinceblock", "listunspent", "lockunspent", "psbtbumpfee",
		"sendrawtransaction", "testmempoolaccept", "walletcreatefundedpsbt", "walletprocesspsbt",
	}
}

// Network implements rails.Chain.
func (n *Node) Network(ctx context.Context) (string, error) {
	const op = "network"
	if err := n.rpc.gate.Pass(ctx); err != nil {
		return "", classify(op, err)
	}
	name, err := n.networkOf(ctx)
	return name, classify(op, err)
}

func (n *Node) networkOf(ctx context.Context) (string, error) {
	var info struct{ Chain string }
	if err := n.rpc.ask(ctx, &info, "getblockchaininfo"); err != nil {
		return "", err
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
