package policy_test

import (
	"bytes"
	"errors"
	"math/bits"
	"strings"
	"testing"

	"robotorq.org/reserve/policy"
)

func rate(t testing.TB, s string) policy.Rate {
	t.Helper()
	r, err := policy.ParseRate(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func defaults(t testing.TB) policy.Document {
	t.Helper()
	d, err := policy.Default("reserve.example", 1_700_000_000_000)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func wantCode(t *testing.T, err error, code policy.Code) {
	t.Helper()
	var e *policy.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("got %v, want code %s", err, code)
	}
}

// The values were computed with 80 decimal digits by another program.
func TestHourlyFactorIsTheExactRootRoundedToNearest(t *testing.T) {
	for yearly, want := range map[string]uint64{
		"0": 9223372036854775808, "0.05": 9223318030490386679, "0.06": 9223306888698053675,
		"0.2": 9223137092816172943, "0.0001": 9223371931559876452, "0.999999": 9208837200750529097, "1": 0,
	} {
		got, err := policy.HourlyFactor(rate(t, yearly))
		if err != nil || got != want {
			t.Errorf("q at %s a year = %d, %v; want %d", yearly, got, err, want)
		}
	}
	_, err := policy.HourlyFactor(rate(t, "1.5"))
	wantCode(t, err, policy.CodeRate)
}

// Demurrage table: a year of ticks takes the yearly rate, but for the rounding of
// 8,760 floors.
func TestAYearOfHourlyFactorsIsTheYearlyRate(t *testing.T) {
	for _, permille := range []uint64{1, 10, 60, 100, 200} {
		r := rate(t, "0."+string([]byte{byte('0' + permille/100), byte('0' + permille/10%10), byte('0' + permille%10)}))
		q, err := policy.HourlyFactor(r)
		if err != nil {
			t.Fatal(err)
		}
		d := uint64(1) << 63
		for range policy.HoursPerYear {
			d = mulQ63(d, q)
		}
		want := (uint64(1) << 63) / 1000 * (1000 - permille)
		if diff := int64(want - d); diff < -20_000 || diff > 20_000 {
			t.Errorf("after a year at %s D is %d, %d away from %d", r, d, diff, want)
		}
	}
}

func TestWeibullPresetsAreTheDistributionInIntegers(t *testing.T) {
	for _, want := range []struct {
		k                         string
		end, p1, p250, p500, end0 uint64
	}{
		{"6", 6110070568, 0, 7237202, 439430420, 4290672329},
		{"4.5", 6978040867, 0, 57557305, 1129940875, 4290672329},
		{"3", 9363450712, 30, 439430420, 2483794605, 4290672329},
		{"2.2", 13618580784, 7452, 1198536108, 3339871488, 4290672329},
		{"2", 15964059243, 29668, 1505894426, 3531202105, 4290672329},
		{"1", 29668583012, 29566347, 3531202105, 4159148505, 4290672329},
	} {
		p, err := policy.Weibull("x", rate(t, want.k))
		if err != nil {
			t.Fatal(err)
		}
		got := [...]uint64{p.End, p.Curve[1], p.Curve[250], p.Curve[500], p.Curve[1000]}
		if got != [...]uint64{want.end, want.p1, want.p250, want.p500, want.end0} {
			t.Errorf("k = %s: got %v, want %v", want.k, got, want)
		}
	}
}

func TestTheDefaultDocumentIsCanonicalAndComesBack(t *testing.T) {
	d := defaults(t)
	data, err := d.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := policy.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	again, err := back.Encode()
	if err != nil || !bytes.Equal(again, data) {
		t.Fatalf("the document does not come back: %v", err)
	}
	for _, part := range []string{`"demurrage_per_year":"0.06"`, `"q":"9223306888698053675"`, `"savings_cap":"0.12"`, `"stake_target":3600000000`} {
		if !strings.Contains(string(data), part) {
			t.Errorf("no %s in the document", part)
		}
	}
	if p, ok := back.Preset("software"); !ok || p.K.String() != "4.5" {
		t.Errorf("preset software: %v %v", p, ok)
	}
}

func TestADocumentThatIsNotCanonicalIsRefused(t *testing.T) {
	d := defaults(t)
	data, err := d.Encode()
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for name, bad := range map[string]string{
		"a space":          strings.Replace(text, `{"`, `{ "`, 1),
		"an unknown field": strings.Replace(text, `{"`, `{"aa":1,"`, 1),
		"a missing field":  strings.Replace(text, `"deposit":"0.05",`, ``, 1),
		"a trailing zero":  strings.Replace(text, `"0.06"`, `"0.060"`, 1),
		"something after":  text + "{}",
		"a float":          strings.Replace(text, `"min_members":3`, `"min_members":3.0`, 1),
		"a rate as number": strings.Replace(text, `"0.06"`, `0.06`, 1),
		"nothing":          "",
	} {
		if bad == text {
			t.Fatalf("%s: nothing was changed", name)
		}
		_, err := policy.Decode([]byte(bad))
		if err == nil {
			t.Errorf("a document with %s was accepted", name)
			continue
		}
		wantCode(t, err, policy.CodeMalformed)
	}
}

func TestBoundsHold(t *testing.T) {
	for name, change := range map[string]func(*policy.Document){
		"demurrage over 20 %": func(d *policy.Document) { d.DemurragePerYear = rate(t, "0.2001") },
		"q of another rate":   func(d *policy.Document) { d.Q++ },
		"torq_min 1":          func(d *policy.Document) { d.TorqMin = 1 },
		"release_every 7 s":   func(d *policy.Document) { d.ReleaseEvery = 7 * policy.Second * 13 },
		"negative target":     func(d *policy.Document) { d.StakeTarget = -1 },
		"no members":          func(d *policy.Document) { d.MinMembers = 0 },
		"effective too early": func(d *policy.Document) { d.Effective = d.Issued - 1 },
		"previous of first":   func(d *policy.Document) { d.Previous = strings.Repeat("1", 64) },
	} {
		d := defaults(t)
		change(&d)
		err := d.Validate()
		if err == nil {
			t.Errorf("%s was accepted", name)
			continue
		}
		wantCode(t, err, policy.CodeBounds)
	}
	d := defaults(t)
	d.Presets[0].Curve = append([]uint64(nil), d.Presets[0].Curve...)
	d.Presets[0].Curve[500] = 0
	wantCode(t, d.Validate(), policy.CodePreset)
}

func TestADemoShortensTimesByItsOwnFile(t *testing.T) {
	d, err := policy.Amend(defaults(t), []byte(`{"release_every": 5000, "min_members": 2, "demurrage_per_year": "0.05"}`))
	if err != nil {
		t.Fatal(err)
	}
	if d.ReleaseEvery != 5000 || d.MinMembers != 2 || d.Q != 9223318030490386679 || len(d.Presets) != 6 || d.SavingsNotice != 30*policy.Day {
		t.Errorf("amended: %+v", d)
	}
	if _, err := policy.Amend(defaults(t), []byte(`{"releaseevery": 1}`)); err == nil {
		t.Error("an unknown field was accepted")
	}
	if _, err := policy.Amend(defaults(t), []byte(`{"q": "1"}`)); err == nil {
		t.Error("a wrong q was accepted")
	}
}

func TestAPolicyFollowsWithNoticeAndSmallSteps(t *testing.T) {
	first := defaults(t)
	digest := strings.Repeat("ab", 32)
	next := func(rateText string, after uint64) policy.Document {
		d := first
		d.Version, d.Previous, d.Issued = 2, digest, first.Issued+1000
		d.Effective = first.Effective + after
		d.DemurragePerYear = rate(t, rateText)
		q, err := policy.HourlyFactor(d.DemurragePerYear)
		if err != nil {
			t.Fatal(err)
		}
		d.Q = policy.Factor(q)
		return d
	}
	for name, c := range map[string]struct {
		d  policy.Document
		ok bool
	}{
		"0.12 points after two days": {next("0.0612", 2*policy.Day), true},
		"down by 0.12":               {next("0.0588", 2*policy.Day), true},
		"more than 0.12":             {next("0.06121", 10*policy.Day), false},
		"without notice":             {next("0.06", policy.Day), false},
		"with just the notice":       {next("0.06", policy.Day+1000), true},
	} {
		if err := policy.CheckNext(first, digest, c.d); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	soon := first
	soon.Notice = policy.Hour
	d := next("0.0611", 2*policy.Hour)
	if err := policy.CheckNext(soon, digest, d); err == nil || !strings.Contains(err.Error(), "whole day since version 1 took effect") || !strings.Contains(err.Error(), "2h0m0s") {
		t.Errorf("a change after two hours: %v; want the time that the step needs", err)
	}
	d = next("0.06", 2*policy.Day)
	d.Version = 3
	wantCode(t, policy.CheckNext(first, digest, d), policy.CodeNext)
}

func TestRatesAreExactDecimals(t *testing.T) {
	for in, out := range map[string]string{"0.06": "0.06", "0.060": "0.06", "1": "1", "1.0": "1", "0": "0", "0.0": "0", "12.5": "12.5"} {
		if got := rate(t, in).String(); got != out {
			t.Errorf("%q prints %q, want %q", in, got, out)
		}
	}
	for _, bad := range []string{"", ".5", "1.", "-1", "+1", "1e3", "01", "0x1", " 1", "0.1234567890123456789"} {
		if _, err := policy.ParseRate(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	r := rate(t, "0.06")
	if r.Floor(99) != 5 || r.Ceil(99) != 6 || r.Floor(100) != 6 || r.Ceil(100) != 6 || r.Floor(-5) != 0 {
		t.Error("0.06 of 99 is between 5 and 6")
	}
	if rate(t, "1000").Floor(1<<62) != 1<<63-1 {
		t.Error("a product over 63 bits saturates")
	}
	if rate(t, "0.1").Cmp(rate(t, "0.09")) != 1 || rate(t, "0.5").Cmp(rate(t, "0.50")) != 0 {
		t.Error("rates compare by value")
	}
}

func mulQ63(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi<<1 | lo>>63
}

func FuzzDecode(f *testing.F) {
	d, err := policy.Default("reserve.example", 1_700_000_000_000)
	if err != nil {
		f.Fatal(err)
	}
	d.Presets = d.Presets[:0]
	data, err := d.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := policy.Decode(data)
		if err != nil {
			return
		}
		again, err := d.Encode()
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("accepted a document that does not re-encode: %v", err)
		}
	})
}
