package explorer

import (
	"context"
	"encoding/json"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/wallet"
)

// Person implements [api.People].
func (e *Explorer) Person(ctx context.Context, account string) (api.Person, error) {
	s, err := e.attached()
	if err != nil {
		return api.Person{}, err
	}
	role, id, err := wallet.SplitAccount(account)
	if err != nil {
		return api.Person{}, api.Errorf(api.CodeMalformed, "%s", sentence(err.Error()))
	}
	var history []proof.SignedEnrolment
	s.Vault.With(func(_ *ledger.Book, r *proof.Registry) { history, err = r.PersonHistory(role, id) })
	if err != nil {
		return api.Person{}, err
	}
	if len(history) == 0 {
		return api.Person{}, api.Errorf(api.CodeUnknownAccount, "%s is not enrolled here.", account)
	}
	p := api.Person{Account: account}
	rebindings := map[uint64]proof.Rebinding{}
	for _, r := range proof.Rebindings(history) {
		rebindings[r.Version] = r
	}
	for _, v := range history {
		p.Status = statusIn(v.Enrolment)
		shown := api.PersonVersion{Version: v.Version, Digest: v.Digest.String(), Issued: int64(v.IssuedMS), Registrar: v.Registrar(), Status: p.Status}
		if r, ok := rebindings[v.Version]; ok {
			shown.Rebinds, shown.Effective, shown.Objected = true, int64(r.Effective), s.Vault.Objected(v.Digest)
		}
		p.Versions = append(p.Versions, shown)
	}
	keys, err := s.Vault.KeysOf(account, e.now())
	if err != nil {
		return p, err
	}
	p.Keys = keysOf(keys)
	err = s.enrolments(ctx, history, &p)
	return p, err
}

// enrolments adds the signed versions as Trust has admitted them.
func (s *Stations) enrolments(ctx context.Context, history []proof.SignedEnrolment, p *api.Person) error {
	for _, v := range history {
		env, err := s.document(ctx, v.Digest)
		if err != nil {
			return err
		}
		text, err := json.Marshal(env)
		if err != nil {
			return err
		}
		p.Envelopes = append(p.Envelopes, text)
	}
	return nil
}

// statusIn is the status in a member's or an organisation's enrolment.
func statusIn(e *seal.Enrolment) string {
	if e.Member != nil {
		return e.Member.Status
	}
	return e.Org.Status
}
