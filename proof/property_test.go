package proof_test

import (
	"math/big"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/torq"
)

func drawReading(t *rapid.T, at uint64) proof.Reading {
	duration := rapid.OneOf(rapid.Uint64Range(1, 20), rapid.Uint64Range(1, torq.MaxReadingMS)).Draw(t, "duration")
	return proof.Reading{
		Start: at, End: at + duration,
		Energy: rapid.OneOf(rapid.Uint64Range(0, 1<<24), rapid.Uint64Range(0, torq.EnergyLimitMJ-1)).Draw(t, "energy"),
		Tokens: rapid.OneOf(rapid.Uint64Range(0, 1000), rapid.Uint64Range(0, torq.TokensLimit-1)).Draw(t, "tokens"),
	}
}

func drawReport(t *rapid.T) proof.Report {
	r := proof.Report{Robot: rapid.StringMatching(`[a-z0-9][a-z0-9-]{0,62}`).Draw(t, "robot"), Seq: 1}
	r.Contract = proof.ContractID("reserve.example/log", rapid.Uint64Range(1, torq.MaxInteger).Draw(t, "contract"))
	if rapid.Bool().Draw(t, "later") {
		r.Seq = rapid.Uint64Range(2, torq.MaxInteger).Draw(t, "seq")
		r.Prev[5] = 1
	}
	at := rapid.Uint64Range(0, 1<<41).Draw(t, "start")
	for range rapid.IntRange(1, 8).Draw(t, "readings") {
		r.Readings = append(r.Readings, drawReading(t, at))
		at = r.Readings[len(r.Readings)-1].End
	}
	return r
}

// The derivation by big integers, as the page says it.
func derive(r proof.Report, carryIn uint64) (ore, carry *big.Int) {
	sum := new(big.Int).SetUint64(carryIn)
	for _, m := range r.Readings {
		micro := new(big.Int).SetUint64(m.Energy)
		micro.Mul(micro, new(big.Int).SetUint64(m.Tokens))
		micro.Mul(micro, big.NewInt(1_000_000))
		sum.Add(sum, micro.Div(micro, new(big.Int).SetUint64(m.End-m.Start)))
	}
	return new(big.Int).DivMod(sum, big.NewInt(1_000_000), new(big.Int))
}

func TestOreAndCarryAreThoseOfBigIntegers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawReport(t)
		carryIn := rapid.Uint64Range(0, 999_999).Draw(t, "carry")
		wantOre, wantCarry := derive(r, carryIn)
		ore, carry, err := r.Derive(carryIn)
		if wantOre.BitLen() > 53 {
			if err == nil {
				t.Fatalf("%s ore was accepted as %d", wantOre, ore)
			}
			return
		}
		if err != nil || ore != wantOre.Uint64() || carry != wantCarry.Uint64() {
			t.Fatalf("got %d carry %d (%v), want %s carry %s", ore, carry, err, wantOre, wantCarry)
		}
	})
}

func TestTheLargestReadingDoesNotOverflow(t *testing.T) {
	r := proof.Report{Robot: "r", Contract: "o#1", Seq: 1}
	for range proof.MaxReadings {
		r.Readings = append(r.Readings, proof.Reading{Start: 0, End: 1, Energy: torq.EnergyLimitMJ - 1, Tokens: torq.TokensLimit - 1})
	}
	if _, _, err := r.Derive(999_999); err == nil {
		t.Error("2^92 ore were accepted")
	}
	r.Readings = []proof.Reading{{Start: 0, End: 1000, Energy: torq.EnergyLimitMJ - 1, Tokens: 32_000}}
	if ore, _, err := r.Derive(0); err != nil || ore != (torq.EnergyLimitMJ-1)*32 {
		t.Errorf("%d %v", ore, err)
	}
}

func TestAReportReencodesToItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawReport(t)
		got, err := proof.DecodeReport(r.Encode())
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Fatalf("%v\n got %+v\nwant %+v", err, got, r)
		}
	})
}

// A builder gives every unit of every contract to exactly one ingot, in order, as
// a list of all units would.
func TestAnIngotBuilderCutsEveryUnitOnceInOrder(t *testing.T) {
	profile := torq.Profile{OrePerIngot: 16, IngotsPerCertificate: 4}
	type unit struct {
		report merkle.Hash
		index  uint64
	}
	rapid.Check(t, func(t *rapid.T) {
		b := proof.NewIngotBuilder(profile, "refinery-1", 1)
		units := map[string][]unit{}
		stored := map[string][]merkle.Span{}
		cut := map[string][]unit{}
		next, reports := uint64(1), byte(0)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "add") {
				contract := rapid.SampledFrom([]string{"o#1", "o#2", "o#3"}).Draw(t, "contract")
				ore := rapid.Uint64Range(0, 70).Draw(t, "ore")
				reports++
				report := merkle.Hash{reports}
				b.Add(contract, report, ore)
				for i := range ore {
					units[contract] = append(units[contract], unit{report, i})
				}
			} else {
				for _, g := range b.Cut(rapid.IntRange(0, 5).Draw(t, "limit")) {
					if g.Seq != next || g.Ore() != 16 {
						t.Fatalf("ingot %+v, want seq %d", g, next)
					}
					next++
					for _, s := range g.Spans {
						for i := range s.Count {
							cut[g.Contract] = append(cut[g.Contract], unit{s.Report, s.First + i})
						}
					}
				}
			}
			for _, o := range b.Changed() { // a crash at any point: restore and go on
				stored[o.Contract] = o.Spans
			}
			if rapid.IntRange(0, 5).Draw(t, "crash") == 0 {
				b = proof.NewIngotBuilder(profile, "refinery-1", b.Next())
				for contract, spans := range stored {
					encoded, err := proof.DecodeSpans(proof.EncodeSpans(spans))
					if err != nil {
						t.Fatal(err)
					}
					b.Restore(proof.OpenSpans{Contract: contract, Spans: encoded})
				}
			}
		}
		b.Cut(1 << 20)
		for contract, all := range cut {
			if !reflect.DeepEqual(all, units[contract][:len(all)]) {
				t.Fatalf("contract %s: units were lost, repeated or reordered", contract)
			}
		}
	})
}

// What is restored from what changed judges as what never stopped.
func TestAnAssayGoesOnFromWhatChanged(t *testing.T) {
	r, b, contract := small(t)
	var stored proof.AssayState
	for range 6 {
		m := r.Seal(b.Report(contract, []proof.Reading{reading(b.End, 10_000, 20_001, 20)}))
		resumed := proof.NewAssay(r.Registry, "")
		resumed.Restore(stored)
		if _, err := resumed.CheckBatch(m, proof.CheckOptions{NowMS: r.Now}); err != nil {
			t.Fatal(err)
		}
		r.Deliver(m)
		stored = r.Refined.Changed() // one robot, one contract: everything changes every time
		if !reflect.DeepEqual(stored, resumed.State()) || !reflect.DeepEqual(stored, r.Refined.State()) {
			t.Fatalf("resumed %+v\nwant %+v", resumed.State(), stored)
		}
	}
	if empty := r.Refined.Changed(); len(empty.Robots) != 0 {
		t.Errorf("nothing happened and %+v changed", empty)
	}
}

func TestTokensAreBoundedByTheRoundedUpBond(t *testing.T) {
	r, _, _ := small(t)
	b := r.Enrol("robot-odd", 100, 7)
	c := r.Contract(16*1000, b)
	rapid.Check(t, func(t *rapid.T) {
		duration := rapid.Uint64Range(10_000, 3_600_000).Draw(t, "duration")
		limit := (7*duration + 999) / 1000
		tokens := limit + rapid.Uint64Range(0, 2).Draw(t, "over")
		env := signedNext(b, c.ID, reading(r.Now, duration, 1, tokens))
		s, refusal := r.Assay(b.Digger).Authenticate(env)
		if refusal != nil {
			t.Fatal(refusal)
		}
		e, refusal := r.Assay(b.Digger).Judge(s, r.Now+duration)
		if refusal != nil || (e.Rule == proof.RatingTokens) != (tokens > limit) {
			t.Fatalf("%d tokens of %d: %+v %v", tokens, limit, e, refusal)
		}
	})
}
