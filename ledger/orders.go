package ledger

import (
	"strconv"
	"strings"

	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/torq"
)

// submit posts a member's order: all of its operations or none.
func (b *Book) submit(c *Submit, at uint64) error {
	if err := c.read(); err != nil {
		return err
	}
	o := c.order
	if o.Origin != b.origin {
		return failf(CodeBadSignature, "the order is for the reserve %q, this is %q", clip(o.Origin), b.origin)
	}
	n, err := b.wallet(o.From)
	if err != nil {
		return err
	}
	if err := o.checkTime(at); err != nil {
		return err
	}
	if b.wallets.row(n).flags()&frozen != 0 && o.pays() {
		return failf(CodeAccountFrozen, "%s is frozen", o.From)
	}
	for i := range o.Operations {
		if err := b.operate(o, &o.Operations[i], n, at); err != nil {
			if e, ok := err.(*Error); ok {
				e.Operation = i
			}
			return err
		}
	}
	return nil
}

// pays reports whether an order does anything but object.
func (o *Order) pays() bool {
	for i := range o.Operations {
		if o.Operations[i].Kind != OpObject {
			return true
		}
	}
	return false
}

func (b *Book) operate(o *Order, p *Operation, n uint32, at uint64) error {
	a := torq.JT(p.Amount)
	switch p.Kind {
	case OpSend:
		return b.send(o.From, p.To, a)
	case OpSave:
		return b.save(o.From, a)
	case OpLeave:
		return b.giveNotice(o.From, a, at)
	case OpBond:
		return b.issueBond(n, p, at)
	case OpInvest:
		return b.invest(n, p.To, a)
	case OpObject:
		return nil // Trust reads it from the posting
	}
	return failf(CodeMalformed, "no operation %q", p.Kind)
}

// Notice is savings under notice: an account `leaving:<owner>` of wallet class
// with shares of its own.
type Notice struct {
	_      struct{} `cbor:",toarray"`
	Owner  string
	Shares torq.Uint128
	Hour   uint64 // of the tick after which it is paid out, Unix hours
}

// giveNotice turns savings into leaving at once.
func (b *Book) giveNotice(account string, a torq.JT, at uint64) error {
	if _, err := b.withdraw(account, a); err != nil {
		return err
	}
	shares, ok := sharesAfterPut(torq.Uint128{}, b.demurrageIndex(), a)
	if !ok {
		return exhausted("the shares of a notice")
	}
	if err := b.reshare(torq.Uint128{}, shares); err != nil {
		return err
	}
	due := at + b.Policy(at).SavingsNotice
	hour := max((due+policy.Hour-1)/policy.Hour, b.state.Hour+1)
	b.state.Notices++
	b.notices.set(b.state.Notices, Notice{Owner: account, Shares: shares, Hour: hour})
	b.derived.matures[hour] = append(b.derived.matures[hour], b.state.Notices)
	return b.enter(leavingPrefix+account, a)
}

// mature pays a notice's value to its owner's wallet.
func (b *Book) mature(c *Mature) error {
	notice, _ := b.notices.get(c.Notice)
	n, err := b.wallet(notice.Owner)
	if err != nil {
		return err
	}
	value := floorValue(notice.Shares, b.demurrageIndex())
	if err := b.reshare(notice.Shares, torq.Uint128{}); err != nil {
		return err
	}
	b.notices.remove(c.Notice)
	if err := b.enter(leavingPrefix+notice.Owner, -value); err != nil || value == 0 {
		return err
	}
	return b.put(n, value)
}

// matured is the oldest notice that the last tick has made due.
func (b *Book) matured() (uint64, bool) {
	numbers := b.derived.matures[b.state.Hour]
	for i, number := range numbers {
		if notice, ok := b.notices.get(number); ok && notice.Hour == b.state.Hour {
			b.derived.matures[b.state.Hour] = numbers[i:]
			return number, true
		}
	}
	delete(b.derived.matures, b.state.Hour)
	return 0, false
}

// contractNumber is the number of a contract id of this reserve, "<origin>#<number>".
func (b *Book) contractNumber(id string) (uint64, bool) {
	origin, digits, ok := strings.Cut(id, "#")
	number, err := strconv.ParseUint(digits, 10, 53)
	return number, ok && origin == b.origin && err == nil && decimal(number) == digits
}
