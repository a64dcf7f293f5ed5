package reserve_test

import (
	"math/rand/v2"
	"testing"

	"robotorq.org/reserve/ledger/slow"
	"robotorq.org/reserve/sim/reserve"
)

// agree runs a world beside the slow books and compares them at midnights.
func agree(t *testing.T, p reserve.Params, every uint64) *reserve.World {
	t.Helper()
	books := slow.New(reserve.Origin)
	w, err := reserve.New(p, books.Follow)
	if err != nil {
		t.Fatal(err)
	}
	for day := range w.Days() {
		if err := w.Day(); err != nil {
			t.Fatalf("day %d: %v", day, err)
		}
		if (day+1)%every == 0 || day+1 == w.Days() {
			if err := books.Compare(w.Book(), w.Now()); err != nil {
				t.Fatalf("at the end of day %d: %v", day, err)
			}
		}
	}
	return w
}

func TestRandomScenariosAgreeWithTheSlowBooks(t *testing.T) {
	t.Parallel()
	var bonds, redeemed, recalled, invested, completed, early int64
	for seed := range 3 {
		random := rand.New(rand.NewPCG(uint64(seed), 3))
		s, err := reserve.Preset("reserve-trouble")
		if err != nil {
			t.Fatal(err)
		}
		p := s.Params
		p.Seed, p.Days, p.Members, p.Contracts, p.Work = int64(seed), 30, 4+random.Int64N(6), 18, 3*reserve.Micro
		p.Stake, p.Asked, p.Release = random.Int64N(reserve.Micro/2), random.Int64N(reserve.Micro), random.Int64N(7)
		p.Demurrage, p.SaversShare, p.NoticeDays = random.Int64N(200_000), random.Int64N(reserve.Micro), random.Int64N(20)
		p.StakeTarget, p.ReleaseMinutes, p.DeadlineDays = 10*reserve.Micro, []int64{10, 20, 60}[random.IntN(3)], 4+random.Int64N(10)
		p.ReleaseDays, p.DateDays = 1+random.Int64N(20), 1+random.Int64N(20)
		p.OrderEvery, p.BondChance, p.RedeemChance, p.Recall = 1+random.Int64N(5), 500_000, 100_000, 50_000
		w := agree(t, p, 1)
		f := w.Flows()
		t.Logf("%d orders, %d certificates, %d recalled, %d bonds, %d redeemed, contracts: %d funded, %d completed, %d cancelled, %d defaulted; %v",
			f.Orders, f.Minted, f.Recalled, f.Bonds, f.Redeemed, f.Funded, f.Completed, f.Cancelled, f.Defaulted, f.Reasons)
		bonds, redeemed, recalled, invested = bonds+f.Bonds, redeemed+f.Redeemed, recalled+f.Recalled, invested+f.Invested
		completed, early = completed+f.Completed, early+f.Cancelled+f.Defaulted
	}
	if bonds == 0 || redeemed == 0 || recalled == 0 || invested == 0 || completed == 0 || early == 0 {
		t.Errorf("too little happened: %d bonds, %d redeemed, %d recalled, %d JT invested, %d contracts completed, %d ended early",
			bonds, redeemed, recalled, invested, completed, early)
	}
}
