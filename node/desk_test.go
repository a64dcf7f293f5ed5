package node_test

import (
	"errors"
	"testing"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/node"
	"robotorq.org/reserve/trust"
	"robotorq.org/reserve/vault"
)

func TestEveryRefusalOfAStationIsAProblemWithItsCode(t *testing.T) {
	check := &ledger.Error{Code: ledger.CodeVaultCheck, Detail: "contract 7", Operation: -1, Err: ledger.Refusals{{Reason: "stake", Detail: "5 of 3"}, {Reason: "deposit", Detail: "1 of 0"}}}
	for name, test := range map[string]struct {
		err    error
		code   api.Code
		status int
		errors int
	}{
		"vault check":       {errors.Join(check), api.CodeVaultCheck, 409, 2},
		"wrong state":       {&trust.Error{Code: trust.CodeWrongState, Detail: "contract 7 is closing"}, api.CodeWrongState, 409, 0},
		"bad signature":     {&trust.Error{Code: trust.CodeBadSignature}, api.CodeBadSignature, 401, 0},
		"a party's key":     {&trust.Error{Code: trust.CodePartial, Detail: "x"}, api.CodeForbidden, 403, 0},
		"no such contract":  {&trust.Error{Code: trust.CodeUnknownContract, Detail: "x"}, api.CodeUnknownContract, 404, 0},
		"malformed":         {&trust.Error{Code: trust.CodeRefused, Detail: "x"}, api.CodeMalformed, 400, 0},
		"signed long ago":   {&trust.Error{Code: trust.CodeExpired, Detail: "x"}, api.CodeExpired, 410, 0},
		"the vault is away": {&vault.Error{Code: vault.CodeUnavailable, Detail: "x"}, api.CodeUnavailable, 503, 0},
		"a duplicate":       {&ledger.Error{Code: ledger.CodeDuplicate, Detail: "x", Operation: -1}, api.CodeDuplicate, 409, 0},
		"its own fault":     {&ledger.Error{Code: ledger.CodeInvariant, Detail: "x", Operation: -1}, api.CodeInternal, 500, 0},
		"somebody's fault":  {errors.New("the disk is full"), api.CodeInternal, 500, 0},
	} {
		err := node.AsProblem(test.err)
		var problem *api.Error
		errors.As(err, &problem)
		if api.CodeOf(err) != test.code || api.CodeOf(err).Status() != test.status || problem != nil && len(problem.Errors) != test.errors {
			t.Errorf("%s: %v, %+v", name, err, problem)
		}
	}
}
