package chain

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// supply is more than all sats that will ever be: 21 million bitcoins.
const supply = 21_000_000 * satsPerBitcoin

const (
	satsPerBitcoin = 100_000_000
	decimals       = 8
)

// Format writes sats as bitcoind's decimal number of bitcoins: 1 sat is
// 0.00000001. No float is on the way.
func Format(sats int64) string {
	sign, magnitude := "", uint64(sats)
	if sats < 0 {
		sign, magnitude = "-", -uint64(sats)
	}
	return fmt.Sprintf("%s%d.%08d", sign, magnitude/satsPerBitcoin, magnitude%satsPerBitcoin)
}

// Parse reads bitcoind's decimal number of bitcoins as sats. It takes a sign, at
// most eight decimals and no exponent, and refuses more than there can be.
func Parse(bitcoins string) (int64, error) {
	bad := func(why string) (int64, error) {
		return 0, fmt.Errorf("%q is no amount of bitcoins: %s", bitcoins, why)
	}
	digits, negative := strings.CutPrefix(bitcoins, "-")
	whole, part, point := strings.Cut(digits, ".")
	if whole == "" || point && part == "" {
		return bad("digits are missing")
	}
	if len(part) > decimals {
		return bad("it has parts of a sat")
	}
	if len(whole) > decimals {
		return bad("it is more than there can be")
	}
	joined := whole + part + strings.Repeat("0", decimals-len(part))
	for _, c := range joined {
		if c < '0' || c > '9' {
			return bad("it holds other than digits")
		}
	}
	sats, err := strconv.ParseInt(joined, 10, 64)
	if err != nil || sats > supply {
		return bad("it is more than there can be")
	}
	if negative {
		sats = -sats
	}
	return sats, nil
}

// amount is a number of sats that travels as a decimal number of bitcoins.
type amount int64

func (a amount) MarshalJSON() ([]byte, error) { return []byte(Format(int64(a))), nil }

func (a *amount) UnmarshalJSON(text []byte) error {
	var n json.Number
	if err := json.Unmarshal(text, &n); err != nil {
		return err
	}
	sats, err := Parse(string(n))
	*a = amount(sats)
	return err
}

// rate is a fee rate in sats per 1,000 virtual bytes that travels as sats per
// virtual byte, of which bitcoind takes three decimals.
type rate int64

func (r rate) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%d.%03d", int64(r)/1000, int64(r)%1000), nil
}
