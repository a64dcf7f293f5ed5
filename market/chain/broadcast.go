package chain

import (
	"context"
	"encoding/hex"
	"strings"

	"robotorq.org/reserve/market/rails"
)

// answers are the words by which nodes refuse a transaction, and what they mean
// to one who asks with bytes that it may have sent before. The first that occurs
// in the node's words counts.
var answers = []struct {
	words string
	state rails.BroadcastState
}{
	{"already in block chain", rails.InBlock},
	{"already in utxo set", rails.InBlock},
	{"txn-already-known", rails.InBlock},
	{"txn-already-in-mempool", rails.InMempool},
	{"txn-same-nonwitness-data-in-mempool", rails.InMempool},
	{"missingorspent", rails.InputsMissing},
	{"missing-inputs", rails.InputsMissing},
	{"missing inputs", rails.InputsMissing},
	{"txn-mempool-conflict", rails.Replaced},
	{"spends-conflicting-tx", rails.Replaced},
	{"insufficient fee", rails.Replaced}, // less than what it would have to replace
	{"rejecting replacement", rails.Replaced},
	{"replacement-failed", rails.Replaced},
	{"too many potential replacements", rails.Replaced},
	{"non-bip68-final", rails.NonFinal},
	{"non-final", rails.NonFinal},
	{"premature-spend-of-coinbase", rails.NonFinal},
	{"too-long-mempool-chain", rails.NonFinal}, // until its parents are in a block
}

// Broadcast implements rails.Chain.
func (n *Node) Broadcast(ctx context.Context, raw []byte) (rails.Broadcast, error) {
	const op = "broadcast"
	const anyFee = 0 // the caller has limited it
	err := n.rpc.call(ctx, nil, "sendrawtransaction", hex.EncodeToString(raw), anyFee)
	if err == nil {
		return rails.Broadcast{State: rails.InMempool}, nil
	}
	r, ok := refused(err)
	if !ok || rails.ClassOf(classify(op, err)) == rails.Unavailable {
		return rails.Broadcast{}, classify(op, err)
	}
	answer := rails.Broadcast{State: meaning(r), Reason: r.Message}
	if answer.State != rails.InputsMissing {
		return answer, nil
	}
	// A confirmed transaction of which every output has been spent looks like one
	// whose inputs are missing.
	mined, err := n.mined(ctx, raw)
	if err != nil {
		return rails.Broadcast{}, classify(op, err)
	}
	if mined {
		answer.State = rails.InBlock
	}
	return answer, nil
}

func meaning(r *refusal) rails.BroadcastState {
	if r.Code == codeAlreadyInChain {
		return rails.InBlock
	}
	words := strings.ToLower(r.Message)
	for _, a := range answers {
		if strings.Contains(words, a.words) {
			return a.state
		}
	}
	return rails.Rejected
}

// mined says whether the wallet has the transaction in a block.
func (n *Node) mined(ctx context.Context, raw []byte) (bool, error) {
	decoded, err := n.decode(ctx, raw)
	if err != nil {
		return false, err
	}
	known, err := n.wallet(ctx, decoded.Txid)
	if _, no := refused(err, codeUnknown); no {
		return false, nil
	}
	return known.Confirmations > 0, err
}
