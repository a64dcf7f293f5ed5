package meter

import (
	"math/big"
	"strings"
)

// Unit is what one whole step of a counter is worth: millijoules for energy,
// one for tokens.
type Unit uint64

// The units a counter may count in.
const (
	Millijoule   Unit = 1
	Joule        Unit = 1_000
	WattMinute   Unit = 60_000
	WattHour     Unit = 3_600_000
	KilowattHour Unit = 3_600_000_000
	Token        Unit = 1
)

// unitNames are the spellings accepted in a meter's address.
func unitByName(name string) (Unit, bool) {
	switch strings.ToLower(name) {
	case "mj":
		return Millijoule, true
	case "j", "joule", "joules", "ws":
		return Joule, true
	case "wh":
		return WattHour, true
	case "kwh":
		return KilowattHour, true
	case "token", "tokens":
		return Token, true
	}
	return 0, false
}

// Bounds of the decimal text that a counter may answer with. They keep a
// hostile answer from costing memory or time.
const (
	maxDecimalText = 64
	maxExponent    = 40
	maxValueBits   = 62
)

// ParseDecimal turns the decimal text of a counter (for example "1834.227",
// "0.5" or "1.5e+06") into whole millijoules or tokens, exactly; what is
// finer than one is cut off. step is the value of the last decimal place
// shown, at least 1: the finest movement the text can express. Negative
// values, infinities, NaN and values of 2^62 or more are refused.
func ParseDecimal(text string, unit Unit) (value, step uint64, err error) {
	digits, exponent, err := splitDecimal(text)
	if err != nil {
		return 0, 0, err
	}
	number, ok := new(big.Int).SetString(digits, 10)
	if !ok {
		return 0, 0, faultf(CodeNumber, "%q is not a decimal number", clip(text))
	}
	whole := scale(number, exponent, unit)
	if whole.BitLen() > maxValueBits {
		return 0, 0, faultf(CodeNumber, "counter value %q is too large", clip(text))
	}
	smallest := scale(big.NewInt(1), exponent, unit)
	step = 1
	if smallest.Sign() > 0 && smallest.BitLen() <= maxValueBits {
		step = smallest.Uint64()
	}
	return whole.Uint64(), step, nil
}

// splitDecimal takes "12.34e5" apart into its digits "1234" and the power of
// ten of the last of them, 3.
func splitDecimal(text string) (digits string, exponent int, err error) {
	rest := strings.TrimSpace(text)
	if rest == "" || len(rest) > maxDecimalText {
		return "", 0, faultf(CodeNumber, "%q is not a counter value", clip(text))
	}
	rest = strings.TrimPrefix(rest, "+")
	if at := strings.IndexAny(rest, "eE"); at >= 0 {
		if exponent, err = smallInteger(rest[at+1:]); err != nil {
			return "", 0, err
		}
		rest = rest[:at]
	}
	if before, after, found := strings.Cut(rest, "."); found {
		rest = before + after
		exponent -= len(after)
	}
	if rest == "" {
		return "", 0, faultf(CodeNumber, "%q is not a counter value", clip(text))
	}
	for _, c := range rest {
		if c < '0' || c > '9' {
			return "", 0, faultf(CodeNumber, "%q is not a counter value that can be counted", clip(text))
		}
	}
	if exponent > maxExponent || exponent < -maxExponent-maxDecimalText {
		return "", 0, faultf(CodeNumber, "%q is out of range", clip(text))
	}
	return rest, exponent, nil
}

// smallInteger reads the exponent of a decimal.
func smallInteger(text string) (int, error) {
	sign := 1
	if rest, negative := strings.CutPrefix(text, "-"); negative {
		sign, text = -1, rest
	} else {
		text = strings.TrimPrefix(text, "+")
	}
	if text == "" || len(text) > 3 {
		return 0, faultf(CodeNumber, "exponent %q is out of range", clip(text))
	}
	n := 0
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, faultf(CodeNumber, "exponent %q is not a number", clip(text))
		}
		n = n*10 + int(c-'0')
	}
	return sign * n, nil
}

// scale is floor(number * unit * 10^exponent).
func scale(number *big.Int, exponent int, unit Unit) *big.Int {
	result := new(big.Int).Mul(number, new(big.Int).SetUint64(uint64(unit)))
	power := exponent
	if power < 0 {
		power = -power
	}
	ten := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(power)), nil)
	if exponent < 0 {
		return result.Quo(result, ten)
	}
	return result.Mul(result, ten)
}

// clip keeps what a device answered from filling a log.
func clip(text string) string {
	if len(text) > 40 {
		return text[:40] + "…"
	}
	return text
}
