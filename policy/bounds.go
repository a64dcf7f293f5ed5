package policy

import (
	"encoding/hex"
	"regexp"
	"time"
)

// bounded is one value and where it must lie.
type bounded struct {
	name           string
	value, low, up uint64
}

type boundedRate struct {
	name  string
	value Rate
	up    string
}

const maxInteger = 1<<53 - 1

// Validate checks every bound of a document, and that q is the factor that follows
// exactly from the yearly rate. The error has code [CodeBounds] or [CodePreset].
func (d *Document) Validate() error {
	if err := d.checkHead(); err != nil {
		return err
	}
	for _, r := range d.rates() {
		if r.value.Cmp(mustRate(r.up)) > 0 {
			return failf(CodeBounds, "%s is %s, at most %s", r.name, r.value, r.up)
		}
	}
	for _, v := range d.integers() {
		if v.value < v.low || v.value > v.up {
			return failf(CodeBounds, "%s is %d, must lie between %d and %d", v.name, v.value, v.low, v.up)
		}
	}
	if Hour%d.ReleaseEvery != 0 {
		return failf(CodeBounds, "release_every is %d ms, must divide one hour", d.ReleaseEvery)
	}
	q, err := HourlyFactor(d.DemurragePerYear)
	if err != nil {
		return err
	}
	if uint64(d.Q) != q {
		return failf(CodeBounds, "q is %d, but demurrage of %s a year makes it %d", d.Q, d.DemurragePerYear, q)
	}
	return d.checkPresets()
}

func (d *Document) checkHead() error {
	if d.Origin == "" || len(d.Origin) > 255 {
		return failf(CodeBounds, "origin must be the name of the reserve's log")
	}
	if raw, err := hex.DecodeString(d.Previous); err != nil || len(raw) != 32 || hex.EncodeToString(raw) != d.Previous {
		return failf(CodeBounds, "previous must be 64 lower-case hexadecimal digits")
	}
	if (d.Version == 1) != (d.Previous == zeros) {
		return failf(CodeBounds, "version 1, and it alone, has 64 zeros as previous")
	}
	if d.Effective < d.Issued {
		return failf(CodeBounds, "effective_ms %d lies before issued_ms %d", d.Effective, d.Issued)
	}
	return nil
}

func (d *Document) rates() []boundedRate {
	return []boundedRate{
		{"demurrage_per_year", d.DemurragePerYear, "0.2"},
		{"savers_share", d.SaversShare, "1"},
		{"savings_cap", d.SavingsCap, "0.2"},
		{"bond_fee", d.BondFee, "0.2"},
		{"bond_cap", d.BondCap, "1"},
		{"genesis_growth", d.GenesisGrowth, "1"},
		{"investor_share", d.InvestorShare, "1"},
		{"deposit", d.Deposit, "1"},
		{"enterprise_cap", d.EnterpriseCap, "1"},
	}
}

func (d *Document) integers() []bounded {
	const years = 3650 * Day
	return []bounded{
		{"version", d.Version, 1, maxInteger},
		{"effective_ms", d.Effective, 0, 1<<48 - 1},
		{"savings_notice", d.SavingsNotice, 0, years},
		{"min_members", d.MinMembers, 1, 1 << 32},
		{"max_report_age", d.MaxReportAge, Second, years},
		{"release_every", d.ReleaseEvery, Second, Hour},
		{"backlog_over", d.BacklogOver, Second, years},
		{"torq_min", d.TorqMin, 2, 1_000_000},
		{"stake_target", uint64(d.StakeTarget), 0, maxInteger},
		{"enterprise_cap_from", uint64(d.EnterpriseFloor), 0, maxInteger},
		{"investor_bps", d.InvestorBPS, 0, 10_000},
		{"enrol_per_day", d.EnrolPerDay, 1, maxInteger},
		{"rebind_delay", d.RebindDelay, 0, years},
		{"max_watts", d.MaxWatts, 1, 1 << 32},
		{"max_tokens_per_s", d.MaxTokensPerSecond, 1, 1 << 32},
		{"notice", d.Notice, 0, years},
		{"closing_notice", d.ClosingNotice, 0, years},
		{"idle_limit", d.IdleLimit, Second, years},
	}
}

func (d *Document) checkPresets() error {
	name := regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	if len(d.Presets) > 64 {
		return failf(CodePreset, "%d release presets, at most 64", len(d.Presets))
	}
	for i, p := range d.Presets {
		switch {
		case !name.MatchString(p.Name) || p.Name == Uniform:
			return failf(CodePreset, "release preset %q: not a name", p.Name)
		case i > 0 && d.Presets[i-1].Name >= p.Name:
			return failf(CodePreset, "release preset %q: presets are sorted by name, each once", p.Name)
		case p.End == 0 || p.End > maxInteger:
			return failf(CodePreset, "release preset %q: its end must lie between 1 and 2^53-1", p.Name)
		case len(p.Curve) != CurvePoints:
			return failf(CodePreset, "release preset %q: %d points, want %d", p.Name, len(p.Curve), CurvePoints)
		}
		if err := checkCurve(p); err != nil {
			return err
		}
	}
	return nil
}

func checkCurve(p Preset) error {
	if p.Curve[0] != 0 || p.Curve[CurvePoints-1] > CurveOne {
		return failf(CodePreset, "release preset %q: its curve must go from 0 to at most 2^32", p.Name)
	}
	for j := 1; j < CurvePoints; j++ {
		if p.Curve[j] < p.Curve[j-1] {
			return failf(CodePreset, "release preset %q: its curve falls at point %d", p.Name, j)
		}
	}
	return nil
}

// CheckNext reports whether next may follow previous, whose digest is given: the
// next version of the same origin, announced at least previous.Notice before it
// holds and not before previous was, and with a demurrage rate at most 0.12
// percentage points away for a whole day between the two (for less than a day, in
// proportion). The error has code [CodeNext].
func CheckNext(previous Document, digest string, next Document) error {
	switch {
	case next.Origin != previous.Origin:
		return failf(CodeNext, "policy for %q cannot follow one for %q", next.Origin, previous.Origin)
	case next.Version != previous.Version+1:
		return failf(CodeNext, "policy version %d cannot follow %d", next.Version, previous.Version)
	case next.Previous != digest:
		return failf(CodeNext, "policy version %d names %s as previous, but that is %s", next.Version, next.Previous, digest)
	case next.Issued < previous.Issued:
		return failf(CodeNext, "policy version %d was issued before version %d", next.Version, previous.Version)
	case next.Effective < next.Issued+previous.Notice:
		return failf(CodeNext, "policy version %d holds %d ms after it is announced; the notice is %d ms",
			next.Version, next.Effective-next.Issued, previous.Notice)
	case next.Effective < previous.Effective:
		return failf(CodeNext, "policy version %d would hold before version %d", next.Version, previous.Version)
	}
	return checkRateMove(previous, next)
}

func checkRateMove(previous, next Document) error {
	low, high := previous.DemurragePerYear.rat(), next.DemurragePerYear.rat()
	if low.Cmp(high) > 0 {
		low, high = high, low
	}
	elapsed := min(next.Effective-previous.Effective, Day)
	most := mustRate("0.0012").rat()
	most.Mul(most, Rate{num: elapsed}.rat())
	most.Quo(most, Rate{num: Day}.rat())
	if high.Sub(high, low).Cmp(most) > 0 {
		return failf(CodeNext, "demurrage moves from %s to %s a year, at most 0.0012 for a whole day since version %d took effect; it would hold %s after that",
			previous.DemurragePerYear, next.DemurragePerYear, previous.Version, (time.Duration(elapsed) * time.Millisecond).Round(time.Second))
	}
	return nil
}
