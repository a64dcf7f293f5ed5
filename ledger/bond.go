package ledger

import (
	"slices"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/torq"
)

// Bond is a bearer bond: face value locked in `bonds`, with one certificate bound
// to it for each RT.
type Bond struct {
	_            struct{} `cbor:",toarray"`
	Serial       uint64
	Owner        string // who had it issued
	Face         uint64 // RT
	KeyHash      merkle.Hash
	Certificates []Span // bound, ascending; none once redeemed
	Issued       uint64 // Unix ms, of the issue or the last reissue or rebinding
	Payee        string // "" until redeemed
}

// MaxFace is the largest face of one bond in RT; whoever wants more has several issued.
const MaxFace = 10_000

// addSpan returns spans with one more, joined where they touch.
func addSpan(spans []Span, add Span) []Span {
	at, _ := slices.BinarySearchFunc(spans, add.First, func(s Span, first uint64) int {
		if s.First < first {
			return -1
		}
		return 1
	})
	result := make([]Span, 0, len(spans)+1)
	for _, s := range slices.Insert(slices.Clone(spans), at, add) {
		if n := len(result); n > 0 && result[n-1].Last+1 == s.First {
			result[n-1].Last = s.Last
		} else {
			result = append(result, s)
		}
	}
	return result
}

// takeOldest divides spans into the first n serials and the rest; ok is false when
// there are fewer.
func takeOldest(spans []Span, n uint64) (taken, rest []Span, ok bool) {
	for i, s := range spans {
		if n == 0 {
			return taken, slices.Clone(spans[i:]), true
		}
		if size := s.Last - s.First + 1; size > n {
			taken = append(taken, Span{First: s.First, Last: s.First + n - 1})
			rest = append(rest, Span{First: s.First + n, Last: s.Last})
			return taken, append(rest, spans[i+1:]...), true
		} else {
			taken = append(taken, s)
			n -= size
		}
	}
	return taken, nil, n == 0
}

// removeSerial takes one serial out of spans; ok is false when it is not in them.
func removeSerial(spans []Span, serial uint64) (rest []Span, ok bool) {
	for _, s := range spans {
		if serial < s.First || serial > s.Last {
			rest = append(rest, s)
			continue
		}
		ok = true
		if s.First < serial {
			rest = append(rest, Span{First: s.First, Last: serial - 1})
		}
		if serial < s.Last {
			rest = append(rest, Span{First: serial + 1, Last: s.Last})
		}
	}
	return rest, ok
}

// issueBond locks whole RT of a member's money behind a bearer's key.
func (b *Book) issueBond(n uint32, op *Operation, at uint64) error {
	ore, p := b.profile.CertificateOre(), b.Policy(at)
	if op.Amount == 0 || op.Amount > MaxFace {
		return failf(CodeAmountInvalid, "a bond over %d RT: its face is from 1 to %d", op.Amount, MaxFace)
	}
	if b.wallets.row(n).flags()&isOrg != 0 {
		return failf(CodeNotEligible, "bonds are issued to members")
	}
	face := torq.JT(op.Amount * ore)
	fee := torq.JT(p.BondFee.Ceil(int64(face)))
	if err := b.checkFunds(n, face+fee); err != nil {
		return err
	}
	if most := torq.JT(p.BondCap.Floor(int64(b.state.Supply()))); b.state.Bonds+face > most {
		return failf(CodeNotEligible, "bonds would be %d JT, at most %s of supply = %d", b.state.Bonds+face, p.BondCap, most)
	}
	taken, rest, ok := takeOldest(b.state.Free, op.Amount)
	if !ok {
		return failf(CodeNotEligible, "fewer than %d certificates are unreserved", op.Amount)
	}
	b.state.Free = rest
	b.state.Bound += op.Amount
	b.state.BondCount++
	b.bonds.set(b.state.BondCount, Bond{
		Serial: b.state.BondCount, Owner: b.wallets.account(n), Face: op.Amount,
		KeyHash: op.Hash, Certificates: taken, Issued: at,
	})
	if err := b.take(n, face+fee); err != nil {
		return err
	}
	if err := b.enter(accountBonds, face); err != nil {
		return err
	}
	return b.enter(accountAvailable, fee)
}

// liveBond is a bond that is not redeemed.
func (b *Book) liveBond(serial uint64) (Bond, error) {
	bond, found := b.bonds.get(serial)
	if !found {
		return Bond{}, failf(CodeUnknownAccount, "there is no bond %d", serial)
	}
	if bond.Payee != "" {
		return Bond{}, failf(CodeDuplicate, "bond %d was redeemed", serial)
	}
	return bond, nil
}

// redeem pays a bond's face into a wallet, once.
func (b *Book) redeem(cmd *Redeem) error {
	bond, err := b.liveBond(cmd.Serial)
	if err != nil {
		return err
	}
	n, err := b.wallet(cmd.Payee)
	if err != nil {
		return err
	}
	for _, s := range bond.Certificates {
		b.state.Free = addSpan(b.state.Free, s)
	}
	face := torq.JT(bond.Face * b.profile.CertificateOre())
	b.state.Bound -= bond.Face
	bond.Payee, bond.Certificates = cmd.Payee, nil
	b.bonds.set(cmd.Serial, bond)
	if err := b.enter(accountBonds, -face); err != nil {
		return err
	}
	return b.put(n, face)
}

// reissue makes a taken bond its bearer's own.
func (b *Book) reissue(cmd *Reissue, at uint64) error {
	bond, err := b.liveBond(cmd.Serial)
	if err != nil {
		return err
	}
	bond.KeyHash, bond.Issued = cmd.KeyHash, max(at, bond.Issued+1)
	b.bonds.set(cmd.Serial, bond)
	return nil
}

// releaseCertificate takes a recalled certificate out of those that bonds may be
// bound to; a bond bound to it is bound to the oldest unreserved one instead.
func (b *Book) releaseCertificate(serial, at uint64) error {
	if rest, ok := removeSerial(b.state.Free, serial); ok {
		b.state.Free = rest
		return nil
	}
	for _, number := range b.bonds.keys() {
		bond, _ := b.bonds.get(number)
		rest, ok := removeSerial(bond.Certificates, serial)
		if !ok {
			continue
		}
		other, free, ok := takeOldest(b.state.Free, 1)
		if !ok {
			return failf(CodeWrongState, "certificate %d is bound to bond %d and no other is unreserved", serial, number)
		}
		b.state.Free = free
		bond.Certificates, bond.Issued = addSpan(rest, other[0]), max(at, bond.Issued+1)
		b.bonds.set(number, bond)
		return nil
	}
	return failf(CodeDuplicate, "certificate %d was recalled", serial)
}
