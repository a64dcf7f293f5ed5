// Package torq holds the units of the reserve and their exact arithmetic:
// energy, tokens and time become ore, ore becomes ingots and certificates, and
// money is counted in the same atom as work.
//
//	1 JT (JouleTorq, ore)          = 1 joule × 1 token / 1 second
//	1 TT (TokenTorq, ingot)        = 3,600 JT
//	1 RT (RoboTorq, certificate)   = 1,000 TT = 3,600,000 JT
//
// It does no I/O, reads no clock and uses integers only; it trusts nothing but
// its arguments, keeps no state, and so has nothing that could survive a crash.
// It implements section 1 of the proof chain's specification.
package torq

import (
	"fmt"
	"math/bits"
)

// Units of ore and money.
const (
	// MicroPerOre is the number of micro-ore in one unit of ore.
	MicroPerOre = 1_000_000
	// OrePerIngot is the ore of one ingot (TT) in the standard profile.
	OrePerIngot = 3_600
	// IngotsPerCertificate is the number of ingots of one certificate in the
	// standard profile.
	IngotsPerCertificate = 1_000
	// OrePerRT is the ore (JT) that one RoboTorq is made of.
	OrePerRT = OrePerIngot * IngotsPerCertificate
)

// Bounds. Whatever lies outside is malformed.
const (
	// MaxInteger is the largest integer that a payload may contain, 2⁵³ − 1.
	MaxInteger = 1<<53 - 1
	// MinReadingMS is the shortest duration of a reading in milliseconds.
	MinReadingMS = 1
	// MaxReadingMS is the longest duration of a reading in milliseconds.
	MaxReadingMS = 3_600_000
	// TimeLimitMS bounds every time, exclusive: Unix milliseconds < 2⁴⁸.
	TimeLimitMS = 1 << 48
	// EnergyLimitMJ bounds a reading's energy, exclusive: millijoules < 2⁴⁸.
	EnergyLimitMJ = 1 << 48
	// TokensLimit bounds a reading's tokens, exclusive: < 2³².
	TokensLimit = 1 << 32
	// OreLimit bounds a report's ore, exclusive: < 2⁵³.
	OreLimit = 1 << 53
)

// Code names the kind of an [Error]; codes never change their meaning.
type Code string

// Codes of this package's errors.
const (
	CodeReading  Code = "torq_reading"  // a reading lies outside its bounds
	CodeOre      Code = "torq_ore"      // a report's ore lies outside its bounds
	CodeOverflow Code = "torq_overflow" // a sum does not fit
	CodeAmount   Code = "torq_amount"   // an amount of money cannot be read
	CodeTooFine  Code = "torq_too_fine" // an amount is finer than 0.00001 RT
	CodeProfile  Code = "torq_profile"  // there is no such profile in this build
)

// Error is the only error type of this package.
type Error struct {
	Code   Code
	Detail string // says what was wrong and what to do about it
}

func (e *Error) Error() string { return e.Detail }

// ErrorCode returns the stable code.
func (e *Error) ErrorCode() string { return string(e.Code) }

func failf(code Code, format string, args ...any) error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// CheckReading reports whether a reading lies inside the bounds of the
// specification: half open interval [startMS, endMS) of 1 to 3,600,000 ms, times
// and energy below 2⁴⁸, tokens below 2³². The error has code [CodeReading].
func CheckReading(startMS, endMS, energyMJ, tokens uint64) error {
	switch {
	case startMS >= TimeLimitMS || endMS >= TimeLimitMS:
		return failf(CodeReading, "reading: times must be below 2^48 ms, got [%d, %d)", startMS, endMS)
	case endMS <= startMS:
		return failf(CodeReading, "reading: end %d is not after start %d", endMS, startMS)
	case endMS-startMS > MaxReadingMS:
		return failf(CodeReading, "reading: lasts %d ms, longest is %d", endMS-startMS, MaxReadingMS)
	case energyMJ >= EnergyLimitMJ:
		return failf(CodeReading, "reading: energy %d mJ is not below 2^48", energyMJ)
	case tokens >= TokensLimit:
		return failf(CodeReading, "reading: %d tokens is not below 2^32", tokens)
	}
	return nil
}

// MicroOre is the micro-ore of one reading,
// floor(energyMJ · tokens · 1,000,000 / durationMS).
//
// The reading MUST lie inside the bounds that [CheckReading] tests (energy below
// 2⁴⁸, tokens below 2³², duration at least 1); MicroOre panics on a duration of
// 0 and on a product that leaves 128 bits, which no checked reading reaches.
func MicroOre(energyMJ, tokens, durationMS uint64) Uint128 {
	if durationMS == 0 {
		panic("torq: MicroOre of an unchecked reading: duration 0")
	}
	hi, lo := bits.Mul64(energyMJ, tokens)
	over, hi := bits.Mul64(hi, MicroPerOre)
	mid, lo := bits.Mul64(lo, MicroPerOre)
	hi, carry := bits.Add64(hi, mid, 0)
	if over != 0 || carry != 0 {
		panic("torq: MicroOre of an unchecked reading: product over 128 bits")
	}
	quotient, _ := Uint128{Hi: hi, Lo: lo}.QuoRem(durationMS)
	return quotient
}

// SplitOre splits a sum of micro-ore (the readings of a report and its carry_in)
// into whole ore and the micro-ore that is carried, 0 ≤ carry < 1,000,000. A sum
// of 2⁵³ ore or more is refused with [CodeOre].
func SplitOre(micro Uint128) (ore, carry uint64, err error) {
	quotient, carry := micro.QuoRem(MicroPerOre)
	if quotient.Hi != 0 || quotient.Lo >= OreLimit {
		return 0, 0, failf(CodeOre, "a report's ore must be below 2^53, this one has %s micro-ore", micro)
	}
	return quotient.Lo, carry, nil
}

// Profile says how much ore makes an ingot and how many ingots a certificate.
type Profile struct {
	OrePerIngot          uint64
	IngotsPerCertificate uint64
}

// Standard is the profile of every real reserve: 3,600 ore, 1,000 ingots.
func Standard() Profile {
	return Profile{OrePerIngot: OrePerIngot, IngotsPerCertificate: IngotsPerCertificate}
}

// CertificateOre is the ore in one certificate.
func (p Profile) CertificateOre() uint64 { return p.OrePerIngot * p.IngotsPerCertificate }

// ProfileByName finds a profile. Release builds know "standard" alone; "tiny"
// (16 ore, 4 ingots, for exhaustive tests) exists under the build tag `tiny`.
// The error has code [CodeProfile].
func ProfileByName(name string) (Profile, error) {
	switch name {
	case "standard":
		return Standard(), nil
	case "tiny":
		return tinyProfile()
	}
	return Profile{}, failf(CodeProfile, "no profile %q; there is %q", name, "standard")
}
