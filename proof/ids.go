package proof

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// ContractID returns "<origin>#<number>".
func ContractID(origin string, number uint64) string {
	return origin + "#" + strconv.FormatUint(number, 10)
}

// ParseContractID splits a contract id into its origin and its number, which
// counts from 1 and has no leading zero.
func ParseContractID(id string) (origin string, number uint64, err error) {
	origin, digits, ok := strings.Cut(id, "#")
	if !ok || !seal.ValidOrigin(origin) {
		return "", 0, fmt.Errorf("contract id %q is not <origin>#<number>", clip(id))
	}
	number, err = strconv.ParseUint(digits, 10, 64)
	if err != nil || number == 0 || number > torq.MaxInteger || digits != strconv.FormatUint(number, 10) {
		return "", 0, errors.New("contract number " + strconv.Quote(clip(digits)) + " is not a decimal from 1")
	}
	return origin, number, nil
}

// ContractOrigin returns the origin in a contract id, "" when it is none.
func ContractOrigin(id string) string {
	origin, _, err := ParseContractID(id)
	if err != nil {
		return ""
	}
	return origin
}

// compareIngots orders ingots inside a certificate: by the bytes of the refinery
// id, then by seq.
func compareIngots(refineryA string, seqA uint64, refineryB string, seqB uint64) int {
	return cmp.Or(strings.Compare(refineryA, refineryB), cmp.Compare(seqA, seqB))
}
