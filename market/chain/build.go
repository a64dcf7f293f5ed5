package chain

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"robotorq.org/reserve/market/address"
	"robotorq.org/reserve/market/rails"
)

const (
	// mostOutputs is the specification's; 100,000 vB, which nodes relay, may be fewer:
	// then the wallet refuses.
	mostOutputs = 2_500
	// cleanUp is how long the unlocking after a failure may take.
	cleanUp = 30 * time.Second
)

// funded is a transaction that the wallet has chosen coins for.
type funded struct {
	PSBT string
	Fee  amount
}

// Build implements rails.Chain.
//
// The wallet takes confirmed coins alone: a payout that rests on the change of
// one that is not in a block yet would be lost with it, or keep it from being
// replaced.
func (n *Node) Build(ctx context.Context, q rails.BuildRequest) (rails.Built, error) {
	to, err := n.check(q)
	if err != nil {
		return rails.Built{}, err
	}
	chosen, err := n.fund(ctx, q)
	if err != nil {
		return rails.Built{}, err
	}
	inputs, err := n.inputs(ctx, chosen.PSBT)
	if err != nil {
		// Unknown inputs cannot be unlocked here: Locked lists them to the caller.
		return rails.Built{}, classify(opBuild, err)
	}
	built, err := n.finish(ctx, chosen, q, to)
	if err == nil {
		// The wallet holds these locks in memory already; now in its file.
		err = classify(opBuild, n.rpc.call(ctx, nil, "lockunspent", false, inputs, true))
	}
	if err != nil {
		n.release(ctx, inputs)
		return rails.Built{}, err
	}
	return built, nil
}

const (
	opBuild = "build"
	opBump  = "bump"
)

func refuse(op string, output int, format string, args ...any) error {
	return &rails.Error{Class: rails.Refused, Op: op, Output: output, Reason: fmt.Sprintf(format, args...)}
}

// check reads the request's addresses and refuses what no node would take.
func (n *Node) check(q rails.BuildRequest) ([]address.Address, error) {
	if len(q.Outputs) == 0 || len(q.Outputs) > mostOutputs {
		return nil, refuse(opBuild, 0, "%d outputs; a transaction has 1 to %d", len(q.Outputs), mostOutputs)
	}
	if q.Rate <= 0 || q.MaxFeeSats < 0 {
		return nil, refuse(opBuild, 0, "a rate of %d sats per 1,000 vB and at most %d sats of fee", q.Rate, q.MaxFeeSats)
	}
	to := make([]address.Address, len(q.Outputs))
	first := make(map[string]int, len(q.Outputs))
	for i, o := range q.Outputs {
		a, err := address.Parse(n.network, o.Address)
		if err != nil {
			return nil, &rails.Error{Class: rails.Refused, Op: opBuild, Output: i + 1, Err: err}
		}
		if j, twice := first[a.Text]; twice {
			return nil, refuse(opBuild, i+1, "outputs %d and %d pay the same address: merge them", j+1, i+1)
		}
		first[a.Text] = i
		switch {
		case o.Sats < a.DustSats():
			return nil, refuse(opBuild, i+1, "%d sats to %s are dust: nodes relay %d or more", o.Sats, a.Text, a.DustSats())
		case o.Sats > supply:
			return nil, refuse(opBuild, i+1, "%d sats are more than there can be", o.Sats)
		}
		to[i] = a
	}
	return to, nil
}

// fund has the wallet choose coins and lock them in its memory, so that no other
// request gets them.
func (n *Node) fund(ctx context.Context, q rails.BuildRequest) (funded, error) {
	outputs := make([]map[string]amount, len(q.Outputs))
	for i, o := range q.Outputs {
		outputs[i] = map[string]amount{o.Address: amount(o.Sats)}
	}
	options := map[string]any{
		"fee_rate": rate(q.Rate), "lockUnspents": true, "replaceable": true, "include_unsafe": false, "minconf": 1,
	}
	if q.PayeesPay {
		payers := make([]int, len(outputs))
		for i := range payers {
			payers[i] = i
		}
		options["subtractFeeFromOutputs"] = payers
	}
	var chosen funded
	const lockTime = 0
	err := n.rpc.call(ctx, &chosen, "walletcreatefundedpsbt", []outpoint{}, outputs, lockTime, options)
	if r, ok := refused(err, codeWallet, codeParameter, codeUnknown); ok {
		return funded{}, unfunded(q, r)
	}
	return chosen, classify(opBuild, err)
}

// unfunded says why the wallet did not make a transaction.
func unfunded(q rails.BuildRequest, r *refusal) error {
	words := strings.ToLower(r.Message)
	e := &rails.Error{Class: rails.Refused, Op: opBuild, Err: r}
	switch {
	case strings.Contains(words, "insufficient funds"), strings.Contains(words, "exceeds your balance"):
		e.Class = rails.Insufficient
	case strings.Contains(words, "too small"), strings.Contains(words, "dust"):
		// The wallet does not say which; with the fee taken in equal parts it is the least.
		least := 0
		for i, o := range q.Outputs {
			if o.Sats < q.Outputs[least].Sats {
				least = i
			}
		}
		e.Output = least + 1
	}
	return e
}

// inputs are what a PSBT spends.
func (n *Node) inputs(ctx context.Context, psbt string) ([]outpoint, error) {
	var d struct{ Tx decoded }
	if err := n.rpc.call(ctx, &d, "decodepsbt", psbt); err != nil {
		return nil, err
	}
	return d.Tx.Vin, nil
}

// finish signs, and holds what came out against what was asked for.
func (n *Node) finish(ctx context.Context, chosen funded, q rails.BuildRequest, to []address.Address) (rails.Built, error) {
	if int64(chosen.Fee) > q.MaxFeeSats {
		return rails.Built{}, refuse(opBuild, 0, "the fee would be %d sats, more than %d", chosen.Fee, q.MaxFeeSats)
	}
	built, d, err := n.sign(ctx, opBuild, chosen)
	if err != nil {
		return rails.Built{}, err
	}
	paid := int64(0)
	for i, a := range to {
		sats, err := d.pays(a.Script)
		if err != nil {
			return rails.Built{}, refuse(opBuild, 0, "the wallet's transaction: output %d: %v", i+1, err)
		}
		if !q.PayeesPay && sats != q.Outputs[i].Sats || sats > q.Outputs[i].Sats || sats <= 0 {
			return rails.Built{}, refuse(opBuild, 0, "the wallet's transaction pays %d sats to %s, not %d", sats, a.Text, q.Outputs[i].Sats)
		}
		paid += q.Outputs[i].Sats - sats
		built.Outputs = append(built.Outputs, rails.Output{Address: q.Outputs[i].Address, Sats: sats})
	}
	if q.PayeesPay && paid != built.FeeSats {
		return rails.Built{}, refuse(opBuild, 0, "the payees would pay %d sats for a fee of %d", paid, built.FeeSats)
	}
	if len(d.Vout) > len(to)+1 {
		return rails.Built{}, refuse(opBuild, 0, "the wallet's transaction has %d outputs for %d payees", len(d.Vout), len(to))
	}
	return built, n.acceptable(ctx, built)
}

// pays is the amount of the one output with the script.
func (d decoded) pays(script []byte) (int64, error) {
	want, sats, found := hex.EncodeToString(script), int64(0), 0
	for _, o := range d.Vout {
		if o.Script.Hex == want {
			sats, found = int64(o.Value), found+1
		}
	}
	if found != 1 {
		return 0, fmt.Errorf("%d outputs pay this address, not 1", found)
	}
	return sats, nil
}

// sign has the wallet sign a funded transaction and returns its bytes, with all
// but the outputs, and as the node reads them.
func (n *Node) sign(ctx context.Context, op string, chosen funded) (rails.Built, decoded, error) {
	fail := func(err error) (rails.Built, decoded, error) { return rails.Built{}, decoded{}, err }
	var signed struct {
		PSBT     string
		Complete bool
	}
	if err := n.rpc.call(ctx, &signed, "walletprocesspsbt", chosen.PSBT); err != nil {
		return fail(classify(op, err))
	}
	var final struct {
		Hex      string
		Complete bool
	}
	if err := n.rpc.call(ctx, &final, "finalizepsbt", signed.PSBT); err != nil {
		return fail(classify(op, err))
	}
	if !signed.Complete || !final.Complete {
		return fail(refuse(op, 0, "the wallet cannot sign all inputs"))
	}
	raw, err := hex.DecodeString(final.Hex)
	if err != nil {
		return fail(&rails.Error{Class: rails.Unavailable, Op: op, Err: err})
	}
	d, err := n.decode(ctx, raw)
	if err != nil {
		return fail(classify(op, err))
	}
	fee, err := n.fee(ctx, chosen.PSBT, d)
	if err != nil {
		return fail(classify(op, err))
	}
	if fee != int64(chosen.Fee) {
		return fail(refuse(op, 0, "the wallet says %d sats of fee, its transaction gives %d", chosen.Fee, fee))
	}
	built := rails.Built{Raw: raw, Txid: d.Txid, VSize: d.VSize, FeeSats: fee}
	for _, in := range d.Vin {
		built.Inputs = append(built.Inputs, rails.Outpoint(in))
	}
	return built, d, nil
}

// fee is what the inputs hold beyond the outputs.
func (n *Node) fee(ctx context.Context, psbt string, d decoded) (int64, error) {
	var explained struct {
		Inputs []struct {
			Witness *struct{ Amount amount } `json:"witness_utxo"`
			Whole   *decoded                 `json:"non_witness_utxo"`
		}
	}
	if err := n.rpc.call(ctx, &explained, "decodepsbt", psbt); err != nil {
		return 0, err
	}
	fee := int64(0)
	for i, in := range explained.Inputs {
		switch {
		case in.Witness != nil:
			fee += int64(in.Witness.Amount)
		case in.Whole != nil && i < len(d.Vin) && int(d.Vin[i].Vout) < len(in.Whole.Vout):
			fee += int64(in.Whole.Vout[d.Vin[i].Vout].Value)
		}
	}
	for _, o := range d.Vout {
		fee -= int64(o.Value)
	}
	return fee, nil
}

// acceptable asks the node whether it would take the transaction.
func (n *Node) acceptable(ctx context.Context, built rails.Built) error {
	var verdicts []struct {
		Allowed bool
		Reason  string `json:"reject-reason"`
	}
	const anyFee = 0
	if err := n.rpc.call(ctx, &verdicts, "testmempoolaccept", []string{hex.EncodeToString(built.Raw)}, anyFee); err != nil {
		return classify(opBuild, err)
	}
	switch {
	case len(verdicts) == 1 && verdicts[0].Allowed:
		return nil
	case len(verdicts) == 1 && strings.Contains(verdicts[0].Reason, "mempool min fee"):
		return &rails.Error{Class: rails.Insufficient, Op: opBuild, Reason: "the memory pool is full and asks for a higher rate: " + verdicts[0].Reason}
	case len(verdicts) == 1:
		return refuse(opBuild, 0, "the node would not relay it: %s", verdicts[0].Reason)
	}
	return &rails.Error{Class: rails.Unavailable, Op: opBuild, Reason: "the node gave no verdict"}
}

// release unlocks after a failure, also when the caller has given up. What it
// cannot reach stays locked and is listed by Locked.
func (n *Node) release(ctx context.Context, inputs []outpoint) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
	defer cancel()
	all := make([]rails.Outpoint, 0, len(inputs))
	for _, o := range inputs {
		all = append(all, rails.Outpoint(o))
	}
	_ = n.Unlock(ctx, all) // the failure that led here is the one to report
}

// Bump implements rails.Chain.
func (n *Node) Bump(ctx context.Context, txid string, r rails.FeeRate, maxFeeSats int64) (rails.Built, error) {
	original, err := n.wallet(ctx, txid)
	if err != nil {
		return rails.Built{}, classify(opBump, err)
	}
	var before decoded
	if err := n.rpc.call(ctx, &before, "decoderawtransaction", original.Hex); err != nil {
		return rails.Built{}, classify(opBump, err)
	}
	var chosen funded
	err = n.rpc.call(ctx, &chosen, "psbtbumpfee", txid, map[string]any{"fee_rate": rate(r), "replaceable": true})
	if no, ok := refused(err, codeWallet, codeParameter, codeUnknown); ok {
		class := rails.Refused
		if strings.Contains(strings.ToLower(no.Message), "insufficient funds") {
			class = rails.Insufficient
		}
		return rails.Built{}, &rails.Error{Class: class, Op: opBump, Err: no}
	}
	if err != nil {
		return rails.Built{}, classify(opBump, err)
	}
	if int64(chosen.Fee) > maxFeeSats {
		return rails.Built{}, refuse(opBump, 0, "the fee would be %d sats, more than %d", chosen.Fee, maxFeeSats)
	}
	return n.replace(ctx, before, chosen)
}

// replace locks the inputs that the wallet added, signs, and holds the
// replacement against the original.
func (n *Node) replace(ctx context.Context, before decoded, chosen funded) (rails.Built, error) {
	inputs, err := n.inputs(ctx, chosen.PSBT)
	if err != nil {
		return rails.Built{}, classify(opBump, err)
	}
	added := slices.DeleteFunc(slices.Clone(inputs), func(o outpoint) bool { return slices.Contains(before.Vin, o) })
	if len(added) == len(inputs) {
		return rails.Built{}, refuse(opBump, 0, "the wallet's replacement shares no input with the original")
	}
	if len(added) > 0 {
		// First as one who finds them free, or fails, then into the wallet's file.
		if err := n.rpc.call(ctx, nil, "lockunspent", false, added); err != nil {
			if no, ok := refused(err); ok {
				return rails.Built{}, &rails.Error{Class: rails.Insufficient, Op: opBump, Reason: "another transaction took the coins meanwhile", Err: no}
			}
			return rails.Built{}, classify(opBump, err)
		}
	}
	built, err := n.same(ctx, before, chosen)
	if err == nil && len(added) > 0 {
		err = classify(opBump, n.rpc.call(ctx, nil, "lockunspent", false, added, true))
	}
	if err != nil {
		n.release(ctx, added)
		return rails.Built{}, err
	}
	return built, nil
}

// same signs a replacement that pays all but our own change as the original did.
func (n *Node) same(ctx context.Context, before decoded, chosen funded) (rails.Built, error) {
	built, after, err := n.sign(ctx, opBump, chosen)
	if err != nil {
		return rails.Built{}, err
	}
	for _, o := range before.Vout {
		var known struct {
			IsChange bool
			IsMine   bool
		}
		if err := n.rpc.call(ctx, &known, "getaddressinfo", o.Script.Address); err != nil {
			return rails.Built{}, classify(opBump, err)
		}
		if known.IsMine && known.IsChange {
			continue
		}
		script, err := hex.DecodeString(o.Script.Hex)
		if err != nil {
			return rails.Built{}, &rails.Error{Class: rails.Unavailable, Op: opBump, Err: err}
		}
		if sats, err := after.pays(script); err != nil || sats != int64(o.Value) {
			return rails.Built{}, refuse(opBump, 0, "the wallet's replacement pays %d sats to %s, not %d", sats, o.Script.Address, o.Value)
		}
		built.Outputs = append(built.Outputs, rails.Output{Address: o.Script.Address, Sats: int64(o.Value)})
	}
	return built, nil
}

var _ rails.Chain = (*Node)(nil)
