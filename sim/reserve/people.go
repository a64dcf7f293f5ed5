package reserve

import (
	"encoding/binary"
	"fmt"
	"slices"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/torq"
)

func (w *World) join() error {
	account := fmt.Sprintf("member:m%06d", len(w.members))
	w.members = append(w.members, account)
	w.people = append(w.people, person{})
	w.flows.Joined++
	return w.do(&ledger.Enrol{Account: account, Digest: merkle.LeafHash([]byte(account))})
}

func (w *World) status(i int, status string) error {
	w.people[i].status++
	return w.do(&ledger.SetStatus{Account: w.members[i], Status: status, Version: w.people[i].status})
}

// rate is how many of so many a year fall on this day: evenly, whole.
func (w *World) rate(aYear int64) int64 {
	d := int64(w.day)
	return aYear*(d+1)/365 - aYear*d/365
}

// comeAndGo enrols who joins, and changes the status of who leaves, is frozen or thawed.
func (w *World) comeAndGo() error {
	for range w.rate(w.P.Joins) {
		if err := w.join(); err != nil {
			return err
		}
	}
	for k, wanted := range []int64{w.rate(w.P.Leaves), w.rate(w.P.Freezes)} {
		for n := range wanted {
			i := int(w.dice.below(uint64(len(w.members)), drawPeople, uint32(2*n)+uint32(k), w.day))
			p := &w.people[i]
			if p.left || p.thawed > 0 {
				continue
			}
			status := ledger.StatusLeft
			if p.left = k == 0; k == 1 {
				status, p.thawed = ledger.StatusFrozen, w.day+30
			} else {
				w.flows.Left++
			}
			if err := w.status(i, status); err != nil {
				return err
			}
		}
	}
	for i := range w.people {
		if p := &w.people[i]; p.thawed == w.day && p.thawed > 0 {
			p.thawed = 0
			if err := w.status(i, ledger.StatusActive); err != nil {
				return err
			}
		}
	}
	return nil
}

// recalls are of certificates of the day before.
func (w *World) recalls() error {
	fresh := w.fresh
	w.fresh = nil
	for _, serial := range fresh {
		if !w.dice.happens(w.P.Recall, drawRecall, uint32(serial), serial>>32) {
			continue
		}
		before := w.book.State().Recalled
		if refused, err := w.ask(&ledger.Recall{Serial: serial}); err != nil || refused != nil {
			return err // a bond holds it and no other certificate is free: it stays
		}
		w.flows.Recalled += int64(w.book.State().Recalled - before)
	}
	return nil
}

// bearers redeem and reissue bonds.
func (w *World) bearers() error {
	var kept []uint64
	for _, serial := range w.bonds {
		switch {
		case w.dice.happens(w.P.RedeemChance, drawRedeem, uint32(serial), w.day):
			payee := w.members[w.dice.below(uint64(len(w.members)), drawRedeem, uint32(serial), ^w.day)]
			if err := w.do(&ledger.Redeem{Serial: serial, Payee: payee}); err != nil {
				return err
			}
			w.flows.Redeemed++
			continue
		case w.dice.happens(w.P.RedeemChance/10, drawReissue, uint32(serial), w.day):
			if err := w.do(&ledger.Reissue{Serial: serial, KeyHash: w.keyHash(serial, w.day)}); err != nil {
				return err
			}
		}
		kept = append(kept, serial)
	}
	w.bonds = kept
	return nil
}

// keyHash stands for the hash of a bearer's key.
func (w *World) keyHash(a, b uint64) merkle.Hash {
	return merkle.LeafHash(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, a), b))
}

// shopping is the orders of the members whose day it is.
func (w *World) shopping() error {
	every := int(w.P.OrderEvery)
	for i := (every - int(w.day)%every) % every; i < len(w.members); i += every {
		if w.people[i].thawed > 0 {
			continue
		}
		w.now++
		if err := w.shop(i); err != nil {
			return err
		}
	}
	return nil
}

// shop is one member's order: it spends, gives, and now and then saves, gives notice or
// takes a bond.
func (w *World) shop(i int) error {
	who, actor, p := w.members[i], uint32(i), &w.P
	a, _ := w.book.Account(who)
	spent := share(share(a.Balance, uint64(p.Spend)), w.dice.around(p.SpendSpread, drawSpend, actor, 0))
	spent = min(spent, a.Balance/2)
	given := share(a.Balance, uint64(p.Give))
	var operations []ledger.Operation
	if spent > 0 {
		to := w.orgs[w.dice.below(uint64(len(w.orgs)), drawShop, actor, w.day)]
		operations = append(operations, ledger.Operation{Kind: ledger.OpSend, To: to, Amount: uint64(spent), Memo: "bread"})
	}
	if given > 0 {
		to := w.members[w.dice.below(uint64(len(w.members)), drawFriend, actor, w.day)]
		operations = append(operations, ledger.Operation{Kind: ledger.OpSend, To: to, Amount: uint64(given)})
	}
	var saved, noticed torq.JT
	if w.dice.happens(p.SaveChance, drawSave, actor, w.day) {
		if saved = share(a.Balance, uint64(p.SaveShare)); saved > 0 {
			operations = append(operations, ledger.Operation{Kind: ledger.OpSave, Amount: uint64(saved)})
		}
	}
	if a.Savings > 0 && w.dice.happens(p.LeaveChance, drawLeave, actor, w.day) {
		noticed = (a.Savings + 1) / 2
		operations = append(operations, ledger.Operation{Kind: ledger.OpLeave, Amount: uint64(noticed)})
	}
	if len(operations) > 0 {
		done, err := w.order(who, operations...)
		if err != nil {
			return err
		}
		if done {
			w.flows.Spent += int64(spent)
			w.flows.Given += int64(given)
			w.flows.Saved += int64(saved)
			w.flows.Noticed += int64(noticed)
		}
	}
	return w.takeBond(who, actor)
}

func (w *World) takeBond(who string, actor uint32) error {
	a, _ := w.book.Account(who)
	if a.Balance < torq.OrePerRT*102/100 || !w.dice.happens(w.P.BondChance, drawBond, actor, w.day) {
		return nil
	}
	done, err := w.order(who, ledger.Operation{Kind: ledger.OpBond, Amount: 1, Hash: w.keyHash(w.orders, w.day)})
	if done {
		w.bonds = append(w.bonds, w.book.State().BondCount)
		w.flows.Bonds++
	}
	return err
}

// wages is what an organisation pays in a week, on its day: a third of what it has to the
// owner of robots next to it, four tenths to its share of the people.
func (w *World) wages() error {
	for i := int(w.day % 7); i < len(w.orgs); i += 7 {
		a, _ := w.book.Account(w.orgs[i])
		var operations []ledger.Operation
		if part := a.Balance / 3; part > 0 && len(w.orgs) > 1 {
			operations = append(operations, ledger.Operation{Kind: ledger.OpSend, To: w.orgs[(i+1)%len(w.orgs)], Amount: uint64(part), Memo: "robots"})
		}
		staff := w.staff(i)
		if len(staff) > 0 {
			if each := a.Balance * 2 / 5 / torq.JT(len(staff)); each > 0 {
				for _, m := range staff {
					operations = append(operations, ledger.Operation{Kind: ledger.OpSend, To: w.members[m], Amount: uint64(each), Memo: "wage"})
				}
			}
		}
		if len(operations) == 0 {
			continue
		}
		if _, err := w.order(w.orgs[i], operations...); err != nil {
			return err
		}
		for _, o := range operations {
			w.flows.Wages += int64(o.Amount)
		}
	}
	return nil
}

// staff are the members whom an organisation pays this week: another hundred each week.
func (w *World) staff(org int) []int {
	const most = 100
	var all []int
	for i := org; i < len(w.members); i += len(w.orgs) {
		all = append(all, i)
	}
	if len(all) <= most {
		return all
	}
	from := int(w.day/7) * most % len(all)
	list := slices.Clone(all[from:min(from+most, len(all))])
	return append(list, all[:max(0, most-len(list))]...)
}
