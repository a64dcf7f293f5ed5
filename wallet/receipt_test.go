package wallet_test

import (
	"testing"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/wallet"
)

// posted is an order, its posting's body and its receipt, as a vault makes them.
func posted(t *testing.T, r *prooftest.Reserve) (order seal.Envelope, body []byte, receipt proof.Receipt) {
	t.Helper()
	signer := prooftest.Signer(t, "ada", seal.RoleMember)
	operation, err := wallet.Send("member:bob", 36, "")
	if err != nil {
		t.Fatal(err)
	}
	o, err := wallet.NewOrder(prooftest.Origin, "member:ada", r.Now, r.Now+1000, operation)
	if err != nil {
		t.Fatal(err)
	}
	if order, err = wallet.SignOrder(o, signer); err != nil {
		t.Fatal(err)
	}
	command, err := ledger.EncodeCommand(&ledger.Submit{Envelope: order})
	if err != nil {
		t.Fatal(err)
	}
	p := ledger.Posting{Seq: 9, Kind: ledger.KindOrder, Time: r.Now, Key: o.Key(), Prev: merkle.Hash{1},
		Entries: []ledger.Entry{{Account: "member:ada", Amount: -36}, {Account: "member:bob", Amount: 36}}, Command: command}
	body = p.Body()
	read, err := ledger.DecodePosting(body)
	if err != nil {
		t.Fatal(err)
	}
	return order, body, proof.Receipt{Origin: prooftest.Origin, Order: o.ID, Seq: 9, Posting: read.Hash, Issued: r.Now}
}

func TestAKeptReceiptIsHeldAgainstTheBooksAndTheirHead(t *testing.T) {
	r := prooftest.New(t, prooftest.Tiny())
	anchor, err := wallet.NewAnchor(charters(r), options(r))
	if err != nil {
		t.Fatal(err)
	}
	order, body, word := posted(t, r)
	signed := r.Sign(prooftest.Vault, proof.TypeReceipt, word.Encode())
	got, err := anchor.Receipt(signed, order)
	if err != nil || got.Seq != word.Seq {
		t.Fatalf("%+v, %v", got, err)
	}
	_, err = anchor.Receipt(r.Sign(prooftest.Trust, proof.TypeReceipt, word.Encode()), order)
	faulty(t, "signed by another", err, "signature")
	another, _, _ := posted(t, r)
	_, err = anchor.Receipt(signed, another)
	faulty(t, "of another order", err, "receipt_order")

	head := proof.Head{Origin: prooftest.Origin, Seq: 9, Posting: word.Posting, Issued: r.Now}
	if err := wallet.CheckPosted(word, order, body, head); err != nil {
		t.Error(err)
	}
	head.Posting[0] ^= 1
	faulty(t, "a head that says otherwise", wallet.CheckPosted(word, order, body, head), "receipt_head")
	lied := word
	lied.Posting[0] ^= 1
	faulty(t, "books that say otherwise", wallet.CheckPosted(lied, order, body, proof.Head{}), "receipt_posting")
	faulty(t, "another order in its place", wallet.CheckPosted(word, another, body, proof.Head{}), "receipt_posting")
	faulty(t, "no posting", wallet.CheckPosted(word, order, []byte{1}, proof.Head{}), "form")
}

func TestAHeadCountsWhenItIsSignedAndLogged(t *testing.T) {
	r := prooftest.New(t, prooftest.Tiny())
	anchor, err := wallet.NewAnchor(charters(r), options(r))
	if err != nil {
		t.Fatal(err)
	}
	env := r.Sign(prooftest.Vault, proof.TypeHead, proof.Head{Origin: prooftest.Origin, Seq: 9, Posting: merkle.Hash{7}, Issued: r.Now}.Encode())
	r.Append(env)
	log := logged(r)
	if h, err := anchor.Head(env, log); err != nil || h.Seq != 9 {
		t.Errorf("%+v, %v", h, err)
	}
	other := r.Sign(prooftest.Vault, proof.TypeHead, proof.Head{Origin: prooftest.Origin, Seq: 10, Posting: merkle.Hash{7}, Issued: r.Now}.Encode())
	_, err = anchor.Head(other, log)
	faulty(t, "not logged", err, "log_inclusion")
	r.Append(r.Sign(prooftest.Trust, proof.TypeHead, proof.Head{Origin: prooftest.Origin, Seq: 10, Issued: r.Now}.Encode()))
	_, err = anchor.Head(r.Envelopes[r.Log[len(r.Log)-1].Digest], logged(r))
	faulty(t, "signed by another", err, "signature")
}
