package purse

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/client"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/wallet"
)

// checkReceipt verifies the vault's signature and that it answers this order.
func (p *Purse) checkReceipt(answer api.Receipt, o ledger.Order) error {
	r, err := p.readReceipt(answer.Envelope, o)
	if err == nil && (r.Seq != answer.Posting || r.Posting.String() != answer.Hash) {
		err = errors.New("it is for another order")
	}
	if err != nil {
		return fmt.Errorf("the node says that the order was done, but its receipt does not hold: %w", err)
	}
	return nil
}

// readReceipt verifies a receipt of an order.
func (p *Purse) readReceipt(document json.RawMessage, o ledger.Order) (proof.Receipt, error) {
	p.mu.Lock()
	charter, origin := p.charter, p.known.Origin
	p.mu.Unlock()
	if charter == nil {
		return proof.Receipt{}, errors.New("the reserve's charter was not asked for")
	}
	var env seal.Envelope
	if err := json.Unmarshal(document, &env); err != nil {
		return proof.Receipt{}, fmt.Errorf("it cannot be read: %w", err)
	}
	r, err := proof.DecodeReceipt(env.Payload)
	if err == nil {
		err = seal.VerifyEnvelope(env, charter.KeysOf(seal.RoleVault), charter.Required(seal.RoleVault), r.Issued)
	}
	if err == nil && (env.PayloadType != proof.TypeReceipt || r.Origin != origin || r.Order != o.ID) {
		err = errors.New("it is for another order")
	}
	return r, err
}

// KeptReceipt is a line of the wallet's file of receipts: what was ordered and what the
// vault said.
type KeptReceipt struct {
	Account string          `json:"account"`
	Order   seal.Envelope   `json:"order"`
	Receipt json.RawMessage `json:"receipt"`
}

// keepReceipt adds a receipt to those that are kept.
func (p *Purse) keepReceipt(k KeptReceipt) (err error) {
	var compact bytes.Buffer
	if err := json.Compact(&compact, k.Receipt); err != nil {
		return err
	}
	k.Receipt = compact.Bytes()
	line, err := json.Marshal(k)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	f, err := os.OpenFile(p.beside(".receipts"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("the order was done, but its receipt cannot be kept: %w", err)
	}
	_, err = f.Write(append(line, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("the order was done, but its receipt cannot be kept: %w", err)
	}
	return nil
}

// Receipts reads the wallet's kept receipts, the oldest first.
func (p *Purse) Receipts() ([]KeptReceipt, error) { return ReadReceipts(p.beside(".receipts")) }

// ReadReceipts reads a file of kept receipts, the oldest first.
func ReadReceipts(path string) (all []KeptReceipt, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no receipts are kept in %s: they are from the first order on", path)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 4<<20)
	for n := 1; lines.Scan(); n++ {
		if strings.TrimSpace(lines.Text()) == "" {
			continue
		}
		var k KeptReceipt
		if err := json.Unmarshal(lines.Bytes(), &k); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", path, n, err)
		}
		all = append(all, k)
	}
	return all, lines.Err()
}

// NewestHead asks for the newest logged head and checks it; before the first full hour
// there is none, and it is of posting 0.
func (p *Purse) NewestHead(ctx context.Context, roots []merkle.Hash) (anchor *wallet.Anchor, head proof.Head, err error) {
	answer, err := p.client.Charter(ctx)
	if err != nil {
		return nil, head, err
	}
	charters, err := envelopes(answer)
	if err != nil {
		return nil, head, err
	}
	if anchor, err = wallet.NewAnchor(charters, wallet.CheckOptions{Roots: roots}); err != nil {
		return nil, head, err
	}
	h, err := p.client.Head(ctx)
	if client.Is(err, api.CodeNoStatement) {
		return anchor, head, nil
	}
	if err != nil {
		return nil, head, err
	}
	var env seal.Envelope
	if err := json.Unmarshal(h.Envelope, &env); err != nil {
		return nil, head, err
	}
	head, err = anchor.Head(env, proof.BundleLog(h.Log))
	return anchor, head, err
}

// ReceiptState is what became of a kept receipt.
type ReceiptState struct {
	OrderID string
	Posting uint64
	Covered bool // by a logged head
}

// CheckKept checks one receipt against the books and a logged head. A contradiction is a
// *proof.Fault.
func (p *Purse) CheckKept(ctx context.Context, anchor *wallet.Anchor, head proof.Head, k KeptReceipt) (state ReceiptState, err error) {
	var env seal.Envelope
	if err := json.Unmarshal(k.Receipt, &env); err != nil {
		return state, &proof.Fault{Artefact: "receipt", Rule: "form", Detail: err.Error()}
	}
	r, err := anchor.Receipt(env, k.Order)
	if err != nil {
		return state, err
	}
	state.OrderID, state.Posting = fmt.Sprintf("%x", r.Order), r.Seq
	posted, err := p.client.PostedOrder(ctx, k.Account, state.OrderID)
	if client.Is(err, api.CodeNotFound) {
		return state, &proof.Fault{Artefact: fmt.Sprintf("posting %d", r.Seq), Digest: env.Digest(), Rule: "receipt_absent",
			Detail: fmt.Sprintf("the vault signed that order %s is posting %d; the books do not hold the order, and the logged head is of posting %d", state.OrderID, r.Seq, head.Seq)}
	}
	if err != nil {
		return state, err
	}
	if err := wallet.CheckPosted(r, k.Order, posted.Body, head); err != nil {
		return state, err
	}
	state.Covered = head.Seq >= r.Seq
	return state, nil
}
