package bitcoin_test

import (
	"testing"

	"robotorq.org/reserve/test/bitcoin"
)

func TestTheStackComesUpPaysAndSurvivesRestarts(t *testing.T) {
	s := bitcoin.Start(t)
	ctx := t.Context()
	pay := func(sats int64) {
		t.Helper()
		before, err := s.Alice.Held(ctx)
		if err != nil {
			t.Fatal(err)
		}
		invoice, err := s.Alice.Invoice(ctx, sats)
		if err != nil {
			t.Fatal(err)
		}
		if outcome, err := s.Bob.Pay(ctx, invoice); err != nil || outcome != "SUCCEEDED" {
			t.Fatal(outcome, err)
		}
		if err := s.Alice.AwaitHeld(ctx, before+sats); err != nil {
			t.Fatal(err)
		}
	}
	pay(50_000)
	s.Alice.Kill()
	if err := s.Alice.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Bob.AwaitRoute(ctx, s.Alice); err != nil {
		t.Fatal(err)
	}
	pay(1_000)
	height, err := s.Bitcoind.Height(ctx)
	if err != nil {
		t.Fatal(err)
	}
	s.Bitcoind.Stop()
	if err := s.Bitcoind.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if again, err := s.Bitcoind.Height(ctx); err != nil || again != height {
		t.Fatalf("height %d after %d, %v", again, height, err)
	}
	if err := s.Bitcoind.Reorganise(ctx, 2); err != nil {
		t.Fatal(err)
	}
	if again, err := s.Bitcoind.Height(ctx); err != nil || again != height+1 {
		t.Fatalf("height %d after a reorganisation of two blocks at %d, %v", again, height, err)
	}
}

func TestAmountsAreReadExactly(t *testing.T) {
	for text, want := range map[string]int64{"0.00000001": 1, "2": 200_000_000, "0.29": 29_000_000, "-0.5": -50_000_000} {
		if got, err := bitcoin.Sats(text); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	if _, err := bitcoin.Sats("0.000000001"); err == nil {
		t.Error("a tenth of a sat was read")
	}
}
