package chain

import (
	"context"
	"encoding/hex"
	"slices"

	"robotorq.org/reserve/market/rails"
)

// decoded is a transaction as bitcoind explains it.
type decoded struct {
	Txid  string
	VSize int64
	Vin   []outpoint
	Vout  []struct {
		Value  amount
		Script struct {
			Hex     string
			Address string
		} `json:"scriptPubKey"`
	}
}

func (n *Node) decode(ctx context.Context, raw []byte) (decoded, error) {
	var d decoded
	err := n.rpc.call(ctx, &d, "decoderawtransaction", hex.EncodeToString(raw))
	return d, err
}

// entry is a transaction as the wallet keeps it.
type entry struct {
	Txid          string
	Confirmations int64
	BlockHash     string
	BlockHeight   int64
	Conflicts     []string `json:"walletconflicts"`
	PoolConflicts []string `json:"mempoolconflicts"`
	Fee           *amount  // negative, of what the wallet sent
	Hex           string
}

func (n *Node) wallet(ctx context.Context, txid string) (entry, error) {
	var e entry
	err := n.rpc.call(ctx, &e, "gettransaction", txid, true)
	return e, err
}

// Transaction implements rails.Chain.
func (n *Node) Transaction(ctx context.Context, txid string) (rails.Transaction, error) {
	const op = "transaction"
	e, err := n.wallet(ctx, txid)
	if err != nil {
		return rails.Transaction{}, classify(op, err)
	}
	t := rails.Transaction{Txid: e.Txid, Confirmations: e.Confirmations, Block: rails.Block{Hash: e.BlockHash, Height: e.BlockHeight},
		Conflicts: slices.Compact(slices.Sorted(slices.Values(slices.Concat(e.Conflicts, e.PoolConflicts))))}
	if e.Fee != nil {
		t.FeeSats = -int64(*e.Fee)
	}
	if e.Confirmations > 0 {
		return t, nil
	}
	err = n.rpc.call(ctx, nil, "getmempoolentry", txid)
	if _, no := refused(err, codeUnknown); no {
		return t, nil
	}
	t.InMempool = err == nil
	return t, classify(op, err)
}

// SpentBy implements rails.Chain.
func (n *Node) SpentBy(ctx context.Context, at rails.Outpoint) (rails.Transaction, bool, error) {
	const op = "spender"
	none := func(err error) (rails.Transaction, bool, error) { return rails.Transaction{}, false, classify(op, err) }
	unspent, err := n.coin(ctx, at)
	if err != nil || unspent != nil {
		return none(err)
	}
	txid, err := n.poolSpender(ctx, at)
	if err == nil && txid == "" {
		txid, err = n.minedSpender(ctx, at)
	}
	if err != nil || txid == "" {
		return none(err)
	}
	t, err := n.Transaction(ctx, txid)
	if err != nil {
		return none(err)
	}
	return t, true, nil
}

func (n *Node) poolSpender(ctx context.Context, at rails.Outpoint) (string, error) {
	var found []struct{ SpendingTxid string }
	if err := n.rpc.call(ctx, &found, "gettxspendingprevout", []outpoint{outpoint(at)}); err != nil || len(found) == 0 {
		return "", err
	}
	return found[0].SpendingTxid, nil
}

// minedSpender looks through what the wallet sent since the block that made the
// output: a node without an index of all transactions has no shorter way.
func (n *Node) minedSpender(ctx context.Context, at rails.Outpoint) (string, error) {
	made, err := n.wallet(ctx, at.Txid)
	if _, no := refused(err, codeUnknown); no {
		return "", nil
	}
	if err != nil || made.Confirmations <= 0 {
		return "", err
	}
	var header struct{ PreviousBlockHash string }
	if err := n.rpc.call(ctx, &header, "getblockheader", made.BlockHash); err != nil {
		return "", err
	}
	listed, err := n.since(ctx, header.PreviousBlockHash)
	if err != nil {
		return "", err
	}
	seen := map[string]bool{}
	for _, l := range listed.Transactions {
		if l.Category != "send" || l.Confirmations <= 0 || seen[l.Txid] {
			continue
		}
		seen[l.Txid] = true
		spends, err := n.spends(ctx, l.Txid, at)
		if err != nil || spends {
			return l.Txid, err
		}
	}
	return "", nil
}

func (n *Node) spends(ctx context.Context, txid string, at rails.Outpoint) (bool, error) {
	e, err := n.wallet(ctx, txid)
	if err != nil {
		return false, err
	}
	var d decoded
	if err := n.rpc.call(ctx, &d, "decoderawtransaction", e.Hex); err != nil {
		return false, err
	}
	return slices.Contains(d.Vin, outpoint(at)), nil
}

// listed is bitcoind's answer to listsinceblock.
type listed struct {
	Transactions []change
	Removed      []change
	LastBlock    string
}

type change struct {
	Txid          string
	Category      string
	Confirmations int64
	BlockHash     string
	BlockHeight   int64
}

// since lists from a block on; from the beginning if the hash is empty or unknown.
func (n *Node) since(ctx context.Context, hash string) (listed, error) {
	const (
		lastBlockIsTip = 1
		watched        = true
		removed        = true
	)
	var l listed
	if hash != "" {
		err := n.rpc.call(ctx, &l, "listsinceblock", hash, lastBlockIsTip, watched, removed)
		if _, no := refused(err, codeUnknown, codeParameter); !no {
			return l, err
		}
	}
	err := n.rpc.call(ctx, &l, "listsinceblock", "", lastBlockIsTip, watched, removed)
	return l, err
}

// Since implements rails.Chain. What was removed comes first: a transaction that
// is in another block by now follows as one that came.
func (n *Node) Since(ctx context.Context, hash string) (rails.Changes, error) {
	const op = "changes"
	l, err := n.since(ctx, hash)
	if err != nil {
		return rails.Changes{}, classify(op, err)
	}
	var header struct{ Height int64 }
	if err := n.rpc.call(ctx, &header, "getblockheader", l.LastBlock); err != nil {
		return rails.Changes{}, classify(op, err)
	}
	changes := rails.Changes{Last: rails.Block{Hash: l.LastBlock, Height: header.Height}}
	seen := map[rails.Change]bool{}
	for i, c := range slices.Concat(l.Removed, l.Transactions) {
		one := rails.Change{Txid: c.Txid, Confirmations: c.Confirmations, Removed: i < len(l.Removed),
			Block: rails.Block{Hash: c.BlockHash, Height: c.BlockHeight}}
		if !seen[one] {
			seen[one] = true
			changes.Transactions = append(changes.Transactions, one)
		}
	}
	return changes, nil
}
