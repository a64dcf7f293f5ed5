package bitcoin_test

import (
	"path/filepath"
	"testing"

	"robotorq.org/reserve/test/bitcoin"
)

func TestAnotherProcessFindsTheStack(t *testing.T) {
	s := bitcoin.Start(t)
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "deeper", "place.json")
	if err := s.Save(path); err != nil {
		t.Fatal(err)
	}
	other, err := bitcoin.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	invoice, err := other.Alice.Invoice(ctx, 1_000)
	if err != nil {
		t.Fatal(err)
	}
	if outcome, err := other.Bob.Pay(ctx, invoice); err != nil || outcome != "SUCCEEDED" {
		t.Error(outcome, err)
	}
	if err := other.Bitcoind.Mine(ctx, 1); err != nil {
		t.Error(err)
	}
	if _, err := bitcoin.Open(filepath.Join(t.TempDir(), "nothing")); err == nil {
		t.Error("nothing was opened")
	}
}
