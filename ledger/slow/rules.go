package slow

import (
	"fmt"
	"slices"
	"strings"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/policy"
)

// do does a command at a time, whole or not at all, and returns the code of its refusal.
func (s *Books) do(c ledger.Command, at uint64) ledger.Code {
	before := s.copy()
	code := s.rule(c, at)
	if code != "" {
		before.contradicted = s.contradicted
		*s = before
		return code
	}
	s.settle()
	return ""
}

func (s *Books) rule(c ledger.Command, at uint64) ledger.Code {
	switch c := c.(type) {
	case *ledger.Adopt:
		return s.adopt(c, at)
	case *ledger.Enrol:
		if s.wallets[c.Account] != nil {
			return ledger.CodeDuplicate
		}
		s.wallets[c.Account] = number(0)
		s.member[c.Account] = strings.HasPrefix(c.Account, "member:")
	case *ledger.SetStatus:
		return s.setStatus(c)
	case *ledger.Submit:
		return s.submit(c, at)
	case *ledger.Award:
		return s.award(c, at)
	case *ledger.Fund:
		return s.fund(c, at)
	case *ledger.Accept:
		return s.accept(c)
	case *ledger.Abandon:
		return s.abandon(c)
	case *ledger.Mint:
		return s.mint(c, at)
	case *ledger.Close:
		return s.close(c)
	case *ledger.Recall:
		return s.recall(c)
	case *ledger.Redeem:
		return s.redeem(c)
	case *ledger.Reissue:
		return s.reissue(c)
	}
	return ""
}

func (s *Books) adopt(c *ledger.Adopt, at uint64) ledger.Code {
	d, err := policy.Decode(c.Document)
	if err != nil || d.Version != uint64(len(s.policies))+1 {
		return ledger.CodePolicy
	}
	if s.policies = append(s.policies, d); len(s.policies) == 1 {
		s.hour, s.released = at/policy.Hour, at/d.ReleaseEvery*d.ReleaseEvery
	}
	return ""
}

func (s *Books) setStatus(c *ledger.SetStatus) ledger.Code {
	if s.wallets[c.Account] == nil {
		return ledger.CodeUnknownAccount
	}
	s.frozen[c.Account] = c.Status == ledger.StatusFrozen
	if strings.HasPrefix(c.Account, "member:") && c.Status != ledger.StatusFrozen {
		s.member[c.Account] = c.Status == ledger.StatusActive
	}
	return ""
}

func (s *Books) submit(c *ledger.Submit, at uint64) ledger.Code {
	o := c.Order()
	switch {
	case s.wallets[o.From] == nil:
		return ledger.CodeUnknownAccount
	case at >= o.Expires:
		return ledger.CodeExpired
	}
	for i, p := range o.Operations {
		if s.frozen[o.From] && p.Kind != ledger.OpObject {
			return ledger.CodeAccountFrozen
		}
		if code := s.operate(o.From, p, i, at); code != "" {
			return code
		}
	}
	return ""
}

func (s *Books) operate(from string, p ledger.Operation, i int, at uint64) ledger.Code {
	a := int64(p.Amount)
	switch p.Kind {
	case ledger.OpSend, ledger.OpSave, ledger.OpLeave:
		if p.Kind == ledger.OpSend && s.wallets[p.To] == nil {
			return ledger.CodeUnknownAccount
		}
		has := s.wallets[from]
		if p.Kind == ledger.OpLeave {
			if has = s.savings[from]; has == nil {
				has = number(0)
			}
		}
		if a <= 0 {
			return ledger.CodeAmountInvalid
		}
		if s.lacks(has, a, i) {
			return ledger.CodeInsufficientFunds
		}
	}
	switch p.Kind {
	case ledger.OpSend:
		s.take(from, a)
		s.put(p.To, a)
	case ledger.OpSave:
		s.take(from, a)
		move(s.savings, from, a)
		s.saved += a
	case ledger.OpLeave:
		s.leave(from, a, at+s.policy(at).SavingsNotice)
	case ledger.OpBond:
		return s.bond(from, p, i, at)
	case ledger.OpInvest:
		return s.invest(from, p.To, a, i)
	}
	return ""
}

func (s *Books) leave(from string, a int64, due uint64) {
	move(s.savings, from, -a)
	s.saved -= a
	if sumOf(s.savings).Sign() == 0 {
		s.available += s.saved
		s.saved = 0
	}
	s.control += a
	s.notices = append(s.notices, slowNotice{from, jt(a), due})
}

func (s *Books) free() (n uint64) {
	for _, of := range s.certificates {
		if of == 0 {
			n++
		}
	}
	return n
}

func (s *Books) bond(from string, p ledger.Operation, i int, at uint64) ledger.Code {
	const largest = ledger.MaxFace
	face := int64(min(p.Amount, largest)) * certificateJT
	rules := s.policy(at)
	_, fee := times(rules.BondFee, face)
	most, _ := times(rules.BondCap, s.issued)
	switch {
	case p.Amount == 0 || p.Amount > largest:
		return ledger.CodeAmountInvalid
	case strings.HasPrefix(from, "org:"):
		return ledger.CodeNotEligible
	case s.lacks(s.wallets[from], face+fee, i):
		return ledger.CodeInsufficientFunds
	case s.bonded+face > most || s.free() < p.Amount:
		return ledger.CodeNotEligible
	}
	s.take(from, face+fee)
	s.bonded += face
	s.available += fee
	s.bonds = append(s.bonds, slowBond{face: p.Amount, key: p.Hash})
	for range p.Amount {
		s.certificates[slices.Index(s.certificates, 0)] = len(s.bonds)
	}
	return ""
}

func (s *Books) invest(from, contract string, a int64, i int) ledger.Code {
	var n uint64
	if _, err := fmt.Sscanf(contract, s.origin+"#%d", &n); err != nil {
		return ledger.CodeUnknownAccount
	}
	c, found := s.contracts[n]
	open := int64(c.terms.Stake)
	for _, k := range c.investors {
		open -= k.amount
	}
	switch {
	case !found:
		return ledger.CodeUnknownAccount
	case a <= 0:
		return ledger.CodeAmountInvalid
	case c.stage != ledger.Awarded:
		return ledger.CodeNotEligible
	case a > open:
		return ledger.CodeAmountInvalid
	case s.lacks(s.wallets[from], a, i):
		return ledger.CodeInsufficientFunds
	}
	s.take(from, a)
	c.invested += a
	c.investors = slices.Clone(c.investors)
	same := slices.IndexFunc(c.investors, func(k slowInvestor) bool { return k.who == from && k.d.Cmp(s.d) == 0 })
	if same >= 0 {
		c.investors[same].amount += a
	} else {
		c.investors = append(c.investors, slowInvestor{who: from, amount: a, d: s.d})
	}
	s.contracts[n] = c
	return ""
}

// mayFund is what the vault check says of a contract's terms and the vault's part.
// stillToMint is the ore of a contract that may still become money.
func (c slowContract) stillToMint() uint64 {
	switch c.stage {
	case ledger.Completed, ledger.Cancelled, ledger.Defaulted:
		return 0
	case ledger.Closing:
		return c.expected - c.minted
	}
	return c.terms.Work - c.minted
}

func (s *Books) mayFund(t *ledger.Terms, part int64, at uint64) bool {
	p := s.policy(at)
	_, preset := p.Preset(t.Release)
	uniform := t.Release == policy.Uniform
	if t.Work == 0 || t.Work%3600 != 0 || int64(t.Stake) > int64(t.Work/p.TorqMin) || !preset && !uniform || !uniform && t.Duration > 0 ||
		t.Deadline <= at || s.wallets[t.Enterprise] == nil {
		return false
	}
	if t.Stake == 0 {
		_, growth := times(p.GenesisGrowth, int64(t.Work))
		for n, c := range s.contracts {
			if n != t.Number && c.terms.Stake == 0 {
				_, more := times(p.GenesisGrowth, int64(c.stillToMint()))
				growth += more
			}
		}
		return growth <= p.StakeTarget-s.capital()
	}
	if part > s.available {
		return false
	}
	held := part
	for n, c := range s.contracts {
		if n != t.Number && c.terms.Enterprise == t.Enterprise {
			held += c.deployed
		}
	}
	most, _ := times(p.EnterpriseCap, s.capital())
	return s.issued < p.EnterpriseFloor || held <= most
}

func (s *Books) award(c *ledger.Award, at uint64) ledger.Code {
	t := c.Terms
	if _, found := s.contracts[t.Number]; found {
		return ledger.CodeDuplicate
	}
	for _, other := range s.contracts {
		open := other.stage == ledger.Awarded || other.stage == ledger.Funded || other.stage == ledger.Active
		if open && !other.accepted && slices.ContainsFunc(t.Robots, func(r string) bool { return slices.Contains(other.terms.Robots, r) }) {
			return ledger.CodeVaultCheck
		}
	}
	if !s.mayFund(&t, int64(c.VaultPart), at) {
		return ledger.CodeVaultCheck
	}
	_, deposit := times(s.policy(at).Deposit, int64(t.Stake))
	if deposit > 0 {
		if s.frozen[t.Enterprise] {
			return ledger.CodeAccountFrozen
		}
		if s.lacks(s.wallets[t.Enterprise], deposit, -1) {
			return ledger.CodeInsufficientFunds
		}
		s.take(t.Enterprise, deposit)
	}
	s.contracts[t.Number] = slowContract{terms: t, stage: ledger.Awarded, deposit: deposit}
	return ""
}

func (s *Books) fund(c *ledger.Fund, at uint64) ledger.Code {
	k, found := s.contracts[c.Contract]
	part := int64(k.terms.Stake) - k.invested
	switch {
	case !found:
		return ledger.CodeUnknownAccount
	case k.stage != ledger.Awarded:
		return ledger.CodeWrongState
	case int64(c.VaultPart) != part:
		return ledger.CodeAmountInvalid
	case !s.mayFund(&k.terms, part, at):
		return ledger.CodeVaultCheck
	}
	s.available -= part
	k.stage, k.vault, k.deployed, k.expected = ledger.Funded, part, part, k.terms.Work
	s.contracts[c.Contract] = k
	s.record(at)
	return ""
}

func (s *Books) accept(c *ledger.Accept) ledger.Code {
	k, found := s.contracts[c.Contract]
	switch {
	case !found:
		return ledger.CodeUnknownAccount
	case k.stage != ledger.Funded && k.stage != ledger.Active:
		return ledger.CodeWrongState
	}
	k.accepted = true
	s.contracts[c.Contract] = k
	return ""
}

// giveBack returns invested money as it would have decayed in the wallet.
func (s *Books) giveBack(k *slowContract, i slowInvestor, a int64) {
	scaled, _ := quo(number(a), s.d, i.d)
	k.invested -= a
	s.put(i.who, scaled.Int64())
	s.demurrage += a - scaled.Int64()
}

func (s *Books) abandon(c *ledger.Abandon) ledger.Code {
	k, found := s.contracts[c.Contract]
	switch {
	case !found:
		return ledger.CodeUnknownAccount
	case k.stage != ledger.Awarded:
		return ledger.CodeWrongState
	}
	for _, i := range k.investors {
		s.giveBack(&k, i, i.amount)
	}
	k.stage, k.investors = ledger.Cancelled, nil
	s.settleDeposit(&k, c.Withdrawn)
	s.contracts[c.Contract] = k
	return ""
}

func (s *Books) close(c *ledger.Close) ledger.Code {
	k, found := s.contracts[c.Contract]
	expected := c.Accepted - c.Accepted%3600
	switch {
	case !found:
		return ledger.CodeUnknownAccount
	case k.stage != ledger.Funded && k.stage != ledger.Active:
		return ledger.CodeWrongState
	case c.Accepted >= k.terms.Work || expected < k.minted:
		return ledger.CodeAmountInvalid
	}
	k.stage, k.cause, k.expected = ledger.Closing, c.Cause, expected
	keep := part(k.vault, expected, k.terms.Work) - k.paid
	s.available += k.deployed - keep
	k.deployed = keep
	for _, i := range k.investors {
		s.giveBack(&k, i, i.amount-part(i.amount, expected, k.terms.Work))
	}
	s.contracts[c.Contract] = k
	return ""
}

func (s *Books) mint(c *ledger.Mint, at uint64) ledger.Code {
	if c.Serial != uint64(len(s.certificates))+1 {
		return ledger.CodeOutOfOrder
	}
	var sum uint64
	for _, w := range c.Work {
		k, found := s.contracts[w.Contract]
		switch {
		case !found:
			return ledger.CodeUnknownAccount
		case k.stage != ledger.Funded && k.stage != ledger.Active && k.stage != ledger.Closing:
			return ledger.CodeWrongState
		case w.Ore == 0 || w.Ore%3600 != 0 || k.minted+w.Ore > k.expected:
			return ledger.CodeAmountInvalid
		}
		sum += w.Ore
	}
	if sum != certificateJT {
		return ledger.CodeAmountInvalid
	}
	s.issued += certificateJT
	s.certificates = append(s.certificates, 0)
	for _, w := range c.Work {
		s.mintOf(w, at)
	}
	return ""
}

func (s *Books) mintOf(w ledger.Work, at uint64) {
	k, p := s.contracts[w.Contract], s.policy(at)
	cum := k.minted + w.Ore
	vault := part(k.vault, cum, k.terms.Work) - k.paid
	var invested int64
	k.investors = slices.Clone(k.investors)
	for n := range k.investors {
		i := &k.investors[n]
		pay := part(i.amount, cum, k.terms.Work) - i.paid
		i.paid += pay
		invested += pay
	}
	markup := int64(w.Ore) - vault - invested
	share, _ := times(p.InvestorShare, markup)
	yield := min(share, invested*int64(p.InvestorBPS)/10_000)
	var growth int64
	if k.terms.Stake == 0 {
		growth, _ = times(p.GenesisGrowth, markup-yield)
	}
	s.put(k.terms.Enterprise, vault+invested)
	k.paid += vault
	k.deployed -= vault
	k.invested -= invested
	k.returns += invested + yield
	k.yield += yield
	k.minted = cum
	k.stage = map[bool]ledger.Stage{true: ledger.Closing, false: ledger.Active}[k.stage == ledger.Closing]
	s.available += vault + growth
	s.disto += markup - yield - growth
	m := slowMarkup{name: k.terms.Release, span: k.terms.DateToMarket, policy: s.holds(at), amount: markup - yield - growth}
	if m.name == policy.Uniform {
		m.span = k.terms.Duration
	}
	m.start = at / p.ReleaseEvery * p.ReleaseEvery
	s.markups = append(s.markups, m)
	s.contracts[w.Contract] = k
}

func (s *Books) recall(c *ledger.Recall) ledger.Code {
	if c.Serial == 0 || c.Serial > uint64(len(s.certificates)) {
		return ledger.CodeUnknownAccount
	}
	of := s.certificates[c.Serial-1]
	if of < 0 {
		return ledger.CodeDuplicate
	}
	if of > 0 {
		other := slices.Index(s.certificates, 0)
		if other < 0 {
			return ledger.CodeWrongState
		}
		s.certificates[other] = of
	}
	s.certificates[c.Serial-1] = -1
	s.disputed = append(s.disputed, c.Serial)
	return ""
}

func (s *Books) redeem(c *ledger.Redeem) ledger.Code {
	if c.Serial == 0 || c.Serial > uint64(len(s.bonds)) || s.wallets[c.Payee] == nil {
		return ledger.CodeUnknownAccount
	}
	b := &s.bonds[c.Serial-1]
	if b.payee != "" {
		return ledger.CodeDuplicate
	}
	b.payee = c.Payee
	for i, of := range s.certificates {
		if of == int(c.Serial) {
			s.certificates[i] = 0
		}
	}
	s.bonded -= int64(b.face) * certificateJT
	s.put(c.Payee, int64(b.face)*certificateJT)
	return ""
}

func (s *Books) reissue(c *ledger.Reissue) ledger.Code {
	if c.Serial == 0 || c.Serial > uint64(len(s.bonds)) {
		return ledger.CodeUnknownAccount
	}
	if s.bonds[c.Serial-1].payee != "" {
		return ledger.CodeDuplicate
	}
	s.bonds[c.Serial-1].key = c.KeyHash
	return ""
}
