package torq

import (
	"math"
	"strconv"
	"strings"
)

// JT is an amount of money in JouleTorq, the atom of money as of work:
// 1 RT = 3,600,000 JT. Balances may be negative (what was issued), so it is signed.
type JT int64

// RTDecimals is the number of decimals of the finest exact decimal step of RT.
const RTDecimals = 5

const (
	jtPerStep  = OrePerRT / stepsPerRT // 36 JT
	stepsPerRT = 100_000               // steps of 0.00001 RT
)

// Add returns a + b, or an error of code [CodeOverflow].
func (a JT) Add(b JT) (JT, error) {
	sum := a + b
	if (sum > a) != (b > 0) && b != 0 {
		return 0, failf(CodeOverflow, "%d JT + %d JT does not fit in 64 bits", a, b)
	}
	return sum, nil
}

// Sub returns a − b, or an error of code [CodeOverflow].
func (a JT) Sub(b JT) (JT, error) {
	diff := a - b
	if (diff < a) != (b > 0) && b != 0 {
		return 0, failf(CodeOverflow, "%d JT - %d JT does not fit in 64 bits", a, b)
	}
	return diff, nil
}

// SumJT adds amounts, or fails with an error of code [CodeOverflow].
func SumJT(amounts ...JT) (JT, error) {
	var sum JT
	for _, a := range amounts {
		var err error
		if sum, err = sum.Add(a); err != nil {
			return 0, err
		}
	}
	return sum, nil
}

// RT prints the amount in RoboTorq with five decimals, cut towards zero, never
// rounded: 3,383,999,999 JT is "939.99999 RT".
func (a JT) RT() string { return a.format("") }

// RTGrouped prints like [JT.RT] with a comma between groups of three digits,
// for people: "1,234,567.00000 RT". [ParseRT] does not read it back.
func (a JT) RTGrouped() string { return a.format(",") }

// String prints the exact amount, "4500000 JT".
func (a JT) String() string { return strconv.FormatInt(int64(a), 10) + " JT" }

func (a JT) format(separator string) string {
	sign, magnitude := "", uint64(a)
	if a < 0 {
		sign, magnitude = "-", -magnitude
	}
	steps := magnitude / jtPerStep
	whole := strconv.FormatUint(steps/stepsPerRT, 10)
	fraction := strconv.FormatUint(stepsPerRT+steps%stepsPerRT, 10)[1:]
	return sign + group(whole, separator) + "." + fraction + " RT"
}

func group(digits, separator string) string {
	if separator == "" || len(digits) <= 3 {
		return digits
	}
	return group(digits[:len(digits)-3], separator) + separator + digits[len(digits)-3:]
}

// ParseRT reads an amount of money with its unit: "1.25 RT" or "4500000 JT" (the
// space may be left out). It is exact: an amount finer than 0.00001 RT, the
// finest exact decimal step, is refused with [CodeTooFine] and the nearest valid
// amount, never rounded. Zeros after the fifth decimal are harmless. A missing
// unit, a sign, an exponent, thousands separators and whatever else is not
// digits are refused with [CodeAmount]; an amount over 2⁶³ − 1 JT with
// [CodeOverflow].
func ParseRT(s string) (JT, error) {
	text := strings.TrimSpace(s)
	if len(text) < 3 {
		return 0, failf(CodeAmount, "amount %q: write a number and its unit, such as \"1.25 RT\" or \"4500000 JT\"", s)
	}
	number, unit := strings.TrimRight(text[:len(text)-2], " "), text[len(text)-2:]
	switch {
	case unit != "RT" && unit != "JT" && strings.Contains(text, ".") && isDigits(strings.Replace(text, ".", "", 1)):
		return 0, failf(CodeAmount, "amount %q has no unit: write \"%s RT\"", s, text)
	case unit != "RT" && unit != "JT" && isDigits(text):
		return 0, failf(CodeAmount, "amount %q has no unit: write \"%s RT\" or, in whole JouleTorq, \"%s JT\"", s, text, text)
	case unit != "RT" && unit != "JT":
		return 0, failf(CodeAmount, "amount %q: its unit is neither RT nor JT: write \"1.25 RT\" or, in whole JouleTorq, \"4500000 JT\"", s)
	case strings.ContainsAny(number, ",_' "):
		return 0, failf(CodeAmount, "amount %q: write it without thousands separators, and decimals after a point, such as \"1.25 RT\"", s)
	case unit == "RT":
		return parseDecimalRT(s, number)
	}
	return parseWholeJT(s, number)
}

func parseWholeJT(s, number string) (JT, error) {
	if !isDigits(number) {
		return 0, failf(CodeAmount, "amount %q: an amount in JT is digits only, since nothing smaller than 1 JT exists", s)
	}
	jt, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return 0, failf(CodeOverflow, "amount %q: more than %d JT cannot be counted", s, int64(math.MaxInt64))
	}
	return JT(jt), nil
}

func parseDecimalRT(s, number string) (JT, error) {
	whole, fraction, dotted := strings.Cut(number, ".")
	if !isDigits(whole) || dotted && !isDigits(fraction) {
		return 0, failf(CodeAmount, "amount %q: an amount in RT is digits with at most one decimal point, such as \"1.25 RT\"", s)
	}
	exact := strings.TrimRight(fraction, "0")
	kept := exact[:min(len(exact), RTDecimals)]
	steps, err := strconv.ParseUint(whole+kept+strings.Repeat("0", RTDecimals-len(kept)), 10, 64)
	if err != nil || steps > math.MaxInt64/jtPerStep {
		return 0, failf(CodeOverflow, "amount %q: more than %s cannot be counted", s, JT(math.MaxInt64).RT())
	}
	if len(exact) > RTDecimals {
		return 0, tooFine(s, steps, exact[RTDecimals] >= '5')
	}
	return JT(steps * jtPerStep), nil
}

func tooFine(s string, steps uint64, up bool) error {
	if (up || steps == 0) && steps < math.MaxInt64/jtPerStep {
		steps++
	}
	return failf(CodeTooFine,
		"amount %q is finer than 0.00001 RT (36 JT), the smallest exact decimal step; the nearest valid amount is %s",
		s, JT(steps*jtPerStep).RT())
}

func isDigits(s string) bool {
	if s == "" {
		return false
	}
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
