// Package policy holds the numbers of the reserve and who may change them: one
// versioned JSON document in RFC 8785 form, signed by root and logged.
//
// A document carries every rate as a decimal string, the hourly demurrage factor q
// as the exact integer that follows from its rate, times in milliseconds, money in
// JT, and the release presets as integer curves, so that every machine computes the
// same money from the same document. [Default] has the values of the specification.
// A demo or a test shortens times and thresholds by a file of its own, a JSON object
// of the fields to change, which [Amend] lays over a document; never by code.
//
// The package does no I/O and reads no clock. It trusts the caller to have verified
// the signature over a document's bytes; [Decode] checks everything else, and
// [CheckNext] whether one document may follow another. It keeps no state, so nothing
// of it could survive a crash. It implements section 3 of the ledger's specification.
package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/gowebpki/jcs"

	"robotorq.org/reserve/strictjson"
)

// Code names the kind of an [Error]; codes never change their meaning.
type Code string

// Codes of this package's errors.
const (
	CodeRate      Code = "policy_rate"      // not a decimal rate
	CodePreset    Code = "policy_preset"    // a release preset that cannot be
	CodeMalformed Code = "policy_malformed" // not a canonical policy document
	CodeBounds    Code = "policy_bounds"    // a value outside its bounds
	CodeNext      Code = "policy_next"      // may not follow the document before it
)

// Error is the only error type of this package.
type Error struct {
	Code   Code
	Detail string
}

func (e *Error) Error() string { return e.Detail }

// ErrorCode returns the stable code.
func (e *Error) ErrorCode() string { return string(e.Code) }

func failf(code Code, format string, args ...any) error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// Times in milliseconds.
const (
	Second uint64 = 1000
	Minute        = 60 * Second
	Hour          = 60 * Minute
	Day           = 24 * Hour
)

// Factor is an integer that JSON carries as a decimal string, since it does not fit
// the 53 bits of a JSON number.
type Factor uint64

// MarshalText is the decimal form.
func (f Factor) MarshalText() ([]byte, error) { return strconv.AppendUint(nil, uint64(f), 10), nil }

// UnmarshalText reads the decimal form.
func (f *Factor) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 10, 64)
	if err != nil || strconv.FormatUint(n, 10) != string(text) {
		return failf(CodeMalformed, "q %q is not a decimal integer", text)
	}
	*f = Factor(n)
	return nil
}

// Document is one version of the policy. Times are in milliseconds, money in JT,
// rates decimal. Its slices are never changed in place.
type Document struct {
	Origin    string `json:"origin"`
	Version   uint64 `json:"version"`      // from 1
	Previous  string `json:"previous"`     // digest of the version before, 64 zeros for the first
	Issued    uint64 `json:"issued_ms"`    // when it was announced
	Effective uint64 `json:"effective_ms"` // from when it holds

	DemurragePerYear Rate   `json:"demurrage_per_year"`
	Q                Factor `json:"q"` // HourlyFactor(DemurragePerYear), Q1.63

	SaversShare   Rate   `json:"savers_share"`
	SavingsCap    Rate   `json:"savings_cap"` // a year
	SavingsNotice uint64 `json:"savings_notice"`

	BondFee Rate `json:"bond_fee"`
	BondCap Rate `json:"bond_cap"` // of supply

	MinMembers    uint64 `json:"min_members"`
	GenesisGrowth Rate   `json:"genesis_growth"`
	MaxReportAge  uint64 `json:"max_report_age"`
	ReleaseEvery  uint64 `json:"release_every"` // divides one hour
	BacklogOver   uint64 `json:"backlog_over"`  // a dividend backlog is spread over this

	TorqMin         uint64 `json:"torq_min"`
	StakeTarget     int64  `json:"stake_target"`
	InvestorShare   Rate   `json:"investor_share"`
	InvestorBPS     uint64 `json:"investor_bps"`
	Deposit         Rate   `json:"deposit"` // of S
	EnterpriseCap   Rate   `json:"enterprise_cap"`
	EnterpriseFloor int64  `json:"enterprise_cap_from"` // supply from which the cap holds

	EnrolPerDay        uint64 `json:"enrol_per_day"`
	RebindDelay        uint64 `json:"rebind_delay"`
	MaxWatts           uint64 `json:"max_watts"`
	MaxTokensPerSecond uint64 `json:"max_tokens_per_s"`

	Notice        uint64 `json:"notice"`
	ClosingNotice uint64 `json:"closing_notice"`
	IdleLimit     uint64 `json:"idle_limit"` // without accepted ore for this long, a contract defaults

	Presets []Preset `json:"presets"` // Weibull releases, sorted by name
}

// Uniform is the name of the release shape that needs no preset.
const Uniform = "uniform"

// Preset is a release shape: how much of an amount is released how long after
// minting, as integers.
type Preset struct {
	Name  string   `json:"name"`
	K     Rate     `json:"k"`
	End   uint64   `json:"end"`   // end of the schedule as a multiple of the date to market, over 2³²
	Curve []uint64 `json:"curve"` // F at 1,001 points from 0 to End, over 2³²
}

// Preset finds a release preset by its name.
func (d *Document) Preset(name string) (*Preset, bool) {
	i, found := slices.BinarySearchFunc(d.Presets, name, func(p Preset, name string) int {
		return bytes.Compare([]byte(p.Name), []byte(name))
	})
	if !found {
		return nil, false
	}
	return &d.Presets[i], true
}

// Default is version 1 with the values of the specification, in force at issuedMS.
func Default(origin string, issuedMS uint64) (Document, error) {
	d := Document{
		Origin: origin, Version: 1, Previous: zeros, Issued: issuedMS, Effective: issuedMS,
		DemurragePerYear: mustRate("0.06"), Q: 9223306888698053675,
		SaversShare: mustRate("0.5"), SavingsCap: mustRate("0.12"), SavingsNotice: 30 * Day,
		BondFee: mustRate("0.01"), BondCap: mustRate("0.25"),
		MinMembers: 3, GenesisGrowth: mustRate("0.95"), MaxReportAge: 48 * Hour,
		ReleaseEvery: Hour, BacklogOver: 30 * Day,
		TorqMin: 2, StakeTarget: 1000 * 3_600_000, InvestorShare: mustRate("0.2"), InvestorBPS: 500,
		Deposit: mustRate("0.05"), EnterpriseCap: mustRate("0.25"), EnterpriseFloor: 1000 * 3_600_000,
		EnrolPerDay: 100, RebindDelay: 7 * Day, MaxWatts: 20_000, MaxTokensPerSecond: 100,
		Notice: 24 * Hour, ClosingNotice: 60 * Second, IdleLimit: 14 * Day,
	}
	presets, err := defaultPresets()
	if err != nil {
		return Document{}, err
	}
	for _, p := range presets {
		p.Curve = slices.Clone(p.Curve) // whoever has a document may amend it
		d.Presets = append(d.Presets, p)
	}
	return d, d.Validate()
}

// defaultPresets draws up the curves of the default policy, once: they are always the same.
var defaultPresets = sync.OnceValues(func() (presets []Preset, err error) {
	for _, named := range [...][2]string{
		{"default", "2.2"}, {"immediate", "6"}, {"long", "1"}, {"medium", "2"}, {"short-hardware", "3"}, {"software", "4.5"},
	} {
		p, err := Weibull(named[0], mustRate(named[1]))
		if err != nil {
			return nil, err
		}
		presets = append(presets, p)
	}
	return presets, nil
})

const zeros = "0000000000000000000000000000000000000000000000000000000000000000"

// Amend lays a JSON object of some of a document's fields over a document: how an
// operator drafts the next version, and how a demo or a test shortens times and
// thresholds by a file. q follows from the rate unless the file carries it. An
// unknown field is an error, and so is what the bounds forbid.
func Amend(base Document, fields []byte) (Document, error) {
	d := base
	d.Presets = nil // a file that names presets replaces them all
	var named struct {
		Q       *Factor `json:"q"`
		Presets *json.RawMessage
	}
	if err := strictjson.Check(fields, &d); err != nil {
		return Document{}, failf(CodeMalformed, "policy file: %v", err)
	}
	if err := decodeStrict(fields, &d); err != nil {
		return Document{}, err
	}
	if err := json.Unmarshal(fields, &named); err != nil {
		return Document{}, failf(CodeMalformed, "policy file: %v", err)
	}
	if named.Presets == nil {
		d.Presets = base.Presets
	}
	if named.Q == nil {
		q, err := HourlyFactor(d.DemurragePerYear)
		if err != nil {
			return Document{}, err
		}
		d.Q = Factor(q)
	}
	return d, d.Validate()
}

// Encode is the document in RFC 8785 form, the bytes that root signs.
func (d *Document) Encode() ([]byte, error) {
	plain, err := json.Marshal(d)
	if err != nil {
		return nil, failf(CodeMalformed, "policy: %v", err)
	}
	canonical, err := jcs.Transform(plain)
	if err != nil {
		return nil, failf(CodeMalformed, "policy: %v", err)
	}
	return canonical, nil
}

// MaxDocument bounds the bytes of a policy document.
const MaxDocument = 1 << 20

// Decode reads a document and refuses what is not exactly its RFC 8785 form (an
// unknown or missing field, another order, spaces), and what [Document.Validate]
// refuses.
func Decode(data []byte) (Document, error) {
	if len(data) > MaxDocument {
		return Document{}, failf(CodeMalformed, "policy of %d bytes, at most %d", len(data), MaxDocument)
	}
	var d Document
	if err := decodeStrict(data, &d); err != nil {
		return Document{}, err
	}
	again, err := d.Encode()
	if err != nil {
		return Document{}, err
	}
	if !bytes.Equal(again, data) {
		return Document{}, failf(CodeMalformed, "policy is not in its canonical form (RFC 8785, every field once)")
	}
	return d, d.Validate()
}

func decodeStrict(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		var own *Error
		if errors.As(err, &own) {
			return own
		}
		return failf(CodeMalformed, "policy: %v", err)
	}
	if decoder.More() {
		return failf(CodeMalformed, "policy: something follows the document")
	}
	return nil
}
