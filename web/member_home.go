package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"path/filepath"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/api/client"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/torq"
	"robotorq.org/reserve/wallet/purse"
)

// nodeSaid is a node's own no.
func nodeSaid(err error) (api.Code, string, bool) {
	var e *client.Error
	if !errors.As(err, &e) || !purse.AnsweredBy(err) {
		return "", "", false
	}
	return e.Code, e.Detail, true
}

// memberHome is what the first page shows.
type memberHome struct {
	Balance  api.Balance
	Wealth   torq.JT // at hand, saved and under notice
	Rate     string  // of demurrage, a year
	Hourly   torq.JT // what the next tick takes of the balance, about
	NextTick int64
	Lines    []memberLine
	Doubtful []doubtful
	Bonds    []heldBond
	Face     uint64 // RT of the bonds that are still good
	Lone     int    // secrets without a bond's file
}

// doubtful is an order whose outcome is not known.
type doubtful struct {
	ID      string
	What    []deed
	Created int64
}

const homeLines = 8

func (m *Member) home(r *http.Request) (memberView, error) {
	ctx := r.Context()
	if m.purse.Origin() == "" {
		if _, err := m.purse.Meet(ctx); err != nil { // the wallet learns whose it is before it shows anything
			return memberView{}, err
		}
	}
	b, err := m.purse.Client().Balance(ctx, m.purse.Account())
	if err != nil {
		return memberView{}, err
	}
	reserve, err := m.purse.Client().Reserve(ctx)
	if err != nil {
		return memberView{}, err
	}
	lines, err := m.purse.Client().Statement(ctx, m.purse.Account(), api.Page{Limit: homeLines})
	if err != nil {
		return memberView{}, err
	}
	h := memberHome{Balance: b, Wealth: b.JT + b.Savings, Rate: reserve.Demurrage, NextTick: reserve.NextTick, Hourly: hourly(b.JT, reserve.Demurrage), Lines: m.named(lines.Items)}
	for _, l := range b.Leaving {
		h.Wealth += l.JT
	}
	if h.Doubtful, err = m.doubtful(); err != nil {
		return memberView{}, err
	}
	if h.Bonds, h.Lone, err = m.bonds.list(ctx); err != nil {
		return memberView{}, err
	}
	for _, held := range h.Bonds {
		if held.State == "live" {
			h.Face += held.Face
		}
	}
	return memberView{Template: "home", Title: "Wallet", Section: "home", Live: true, Data: h}, nil
}

// hourly is about what an hour takes of a balance at a yearly rate.
func hourly(jt torq.JT, rate string) torq.JT {
	r, ok := new(big.Rat).SetString(rate)
	if !ok {
		return 0
	}
	taken := r.Mul(r, new(big.Rat).SetFrac64(int64(jt), policy.HoursPerYear))
	return torq.JT(new(big.Int).Quo(taken.Num(), taken.Denom()).Int64())
}

// memberLine is a movement with the address book's name of the other side.
type memberLine struct {
	api.StatementLine
	Name string
}

func (m *Member) named(lines []api.StatementLine) []memberLine {
	names := m.names()
	out := make([]memberLine, len(lines))
	for i, l := range lines {
		out[i] = memberLine{l, names[l.Other]}
	}
	return out
}

// names are the address book's names by account. A book that cannot be read has none: the
// accounts are shown.
func (m *Member) names() map[string]string {
	contacts, err := m.purse.Contacts()
	if err != nil {
		return nil
	}
	names := map[string]string{}
	for _, c := range contacts {
		names[c.Account] = c.Name
	}
	return names
}

// doubtful are the orders that wait for an answer, from this session or an earlier one.
func (m *Member) doubtful() (list []doubtful, err error) {
	kept, err := m.purse.KeptOrders()
	if err != nil {
		return nil, err
	}
	for _, k := range kept {
		list = append(list, doubtful{ID: fmt.Sprintf("%x", k.Order.ID), What: m.deeds(k.Order), Created: int64(k.Order.Created)})
	}
	return list, nil
}

// kindText says in words what a movement is.
func kindText(kind string) string {
	texts := map[string]string{
		"received": "Received", "sent": "Sent", "dividend": "Dividend", "demurrage": "Demurrage",
		"saved": "Into savings", "withdrawn": "Out of savings", "bond": "Bond", "invested": "Invested",
		"returned": "Investment returned", "yield": "Savings yield",
	}
	if text, ok := texts[kind]; ok {
		return text
	}
	return kind
}

// noticeText is a length of time, in days where it is whole ones.
func noticeText(ms int64) string {
	if day := int64(policy.Day); ms >= day && ms%day == 0 {
		return number(ms/day) + plural(ms/day, " day", " days")
	}
	return durationText(ms)
}

// Pace of the live page.
const (
	memberPace  = time.Second      // between two looks at the balance
	memberQuiet = 15 * time.Second // a comment at least so often shows that the line is alive
	memberRetry = 2 * time.Second
)

// follow relays to the page that the balance has changed; the page then asks for itself
// anew. The reserve's own events say when to look.
func (m *Member) follow(w http.ResponseWriter, r *http.Request) {
	if err := m.door.admit(r); err != nil {
		m.render(w, r, m.failed(r, err))
		return
	}
	select {
	case m.streams <- struct{}{}:
		defer func() { <-m.streams }()
	default:
		http.Error(w, "The wallet is open in several tabs already; this one does not move.", http.StatusServiceUnavailable)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	stirred, connected, broken := make(chan struct{}, 1), make(chan struct{}, 1), make(chan error, 1)
	listen := func() {
		broken <- m.purse.Client().Events(ctx, []string{api.KindPosting, api.KindReset}, func() { connected <- struct{}{} }, func(string, []byte) error {
			select {
			case stirred <- struct{}{}:
			default: // a look is due already
			}
			return nil
		})
	}
	go listen()
	for on := false; !on; { // nothing is said before the reserve is there, so that the lamp does not lie
		select {
		case <-ctx.Done():
			return
		case <-connected:
			on = true
		case <-broken:
			select {
			case <-ctx.Done():
				return
			case <-m.options.Clock.After(memberRetry):
				go listen()
			}
		}
	}
	m.relay(ctx, w, stirred, broken)
}

func (m *Member) relay(ctx context.Context, w http.ResponseWriter, stirred <-chan struct{}, broken <-chan error) {
	control := http.NewResponseController(w)
	say := func(text string) bool {
		_ = control.SetWriteDeadline(m.options.Clock.Now().Add(time.Minute)) // not every writer has deadlines; those of net/http do
		_, err := io.WriteString(w, text)
		return err == nil && control.Flush() == nil
	}
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if !say(fmt.Sprintf("retry: %d\n\nevent: reset\ndata: {}\n\n", memberRetry.Milliseconds())) {
		return
	}
	var known string
	for {
		select {
		case <-ctx.Done():
			return
		case <-broken:
			return // the page comes again by itself
		case <-m.options.Clock.After(memberQuiet):
			if !say(":\n\n") {
				return
			}
			continue
		case <-stirred:
		}
		b, err := m.purse.Client().Balance(ctx, m.purse.Account())
		if err != nil {
			return
		}
		b.Posting, b.Time = 0, 0
		if now := fmt.Sprintf("%+v", b); now != known {
			known = now
			if !say("event: reset\ndata: {}\n\n") {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-m.options.Clock.After(memberPace):
		}
	}
}

// shortPath is a file for people: its name alone.
func shortPath(path string) string { return filepath.Base(path) }
