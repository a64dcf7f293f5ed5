package ledger

import (
	"fmt"
	"math"
	"strings"

	"github.com/holiman/uint256"
)

// Refusal is one reason of the vault check against a contract.
type Refusal struct {
	Reason string // stable name
	Detail string // with the figures
}

// Refusals is all that the vault check has against a contract; it is the cause of
// an [Error] of code [CodeVaultCheck].
type Refusals []Refusal

func (r Refusals) Error() string {
	details := make([]string, len(r))
	for i, refusal := range r {
		details[i] = refusal.Reason + ": " + refusal.Detail
	}
	return strings.Join(details, "; ")
}

type refusals struct{ list Refusals }

func (r *refusals) add(reason, format string, args ...any) {
	r.list = append(r.list, Refusal{Reason: reason, Detail: fmt.Sprintf(format, args...)})
}

func (r *refusals) error(contract uint64) error {
	if len(r.list) == 0 {
		return nil
	}
	return wrapf(CodeVaultCheck, r.list, "contract %d", contract)
}

// rating is what robots can make, in ore per second.
type rating struct{ sum uint256.Int }

func (r *rating) addProduct(watts, tokens uint64) {
	product := new(uint256.Int).Mul(uint256.NewInt(watts), uint256.NewInt(tokens))
	r.sum.Add(&r.sum, product)
}

// times is the ore in a number of milliseconds, at most 2⁶⁴ − 1.
func (r *rating) times(ms uint64) uint64 {
	ore := new(uint256.Int).Mul(&r.sum, uint256.NewInt(ms))
	ore.Div(ore, uint256.NewInt(1000))
	if !ore.IsUint64() {
		return math.MaxUint64
	}
	return ore.Uint64()
}
