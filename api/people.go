package api

import (
	"context"
	"encoding/json"

	"github.com/danielgtaylor/huma/v2"
)

// CodeTooManyEnrolments says that a registrar has enrolled as many people in a day as
// the policy allows.
const CodeTooManyEnrolments Code = "too_many_enrolments"

// Person is a member or an organisation as the log tells of them: every version of the
// enrolment, and the keys that count now.
type Person struct {
	Account   string            `json:"account"`
	Status    string            `json:"status" enum:"active,left,frozen"`
	Keys      []Key             `json:"keys" nullable:"false" doc:"That count now"`
	Versions  []PersonVersion   `json:"versions" nullable:"false" doc:"Oldest first"`
	Envelopes []json.RawMessage `json:"envelopes" nullable:"false" doc:"Of the versions, DSSE"`
}

// PersonVersion is a version of an enrolment, and what it changed.
type PersonVersion struct {
	Version   uint64 `json:"version"`
	Digest    string `json:"digest"`
	Issued    int64  `json:"issued_ms"`
	Registrar string `json:"registrar"`
	Status    string `json:"status" enum:"active,left,frozen"`
	Rebinds   bool   `json:"rebinds" doc:"It gives the owner other keys"`
	Effective int64  `json:"effective_ms,omitempty" doc:"Of a rebinding: until then the former keys count, and may object"`
	Objected  bool   `json:"objected" doc:"A former key has objected: the rebinding never counts"`
}

// People is the reserve's register of members and organisations. Errors are [*Error].
type People interface {
	// Person is a member or an organisation, `member:<id>` or `org:<id>`.
	Person(ctx context.Context, account string) (Person, error)
}

type personInput struct {
	Account string `path:"account" pattern:"^(member|org):[a-z0-9][a-z0-9-]{0,62}$" doc:"member:<id> or org:<id>"`
}

func (s *Server) people(api huma.API, people People) {
	get(s, api, "get-person", "/people/{account}", tagReserve, "The enrolment of a member or an organisation, every version",
		func(ctx context.Context, in *personInput) (Person, error) { return people.Person(ctx, in.Account) })
}

// members mounts what the wallets' side can do besides.
func (s *Server) members(api huma.API) {
	if bonds, ok := s.options.Wallets.(Bonds); ok {
		s.bonds(api, bonds)
	}
	if solvent, ok := s.options.Wallets.(Solvent); ok {
		s.solvency(api, solvent)
	}
	if people, ok := s.options.Wallets.(People); ok {
		s.people(api, people)
	}
}
