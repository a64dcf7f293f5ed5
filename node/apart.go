package node

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/store"
)

// Services that a process can run (specification: interface.md, `run`).
const (
	ServiceDigger   = "digger"
	ServiceRefinery = "refinery"
	ServiceMint     = "mint"
	ServiceVault    = "vault"
	ServiceTrust    = "trust"
	ServiceWeb      = "web"
	ServiceMarket   = "market"
)

// together are the services that share the reserve's books: Trust asks the vault before it
// awards, the page reads them all, the mint's log and packs lie beside them. They run in
// one process. Digger and refinery, which do nearly all of the computing, hand over on
// the bus alone and run wherever there are processors.
var together = []string{ServiceMint, ServiceVault, ServiceTrust, ServiceWeb}

// watchID is the name under which the process with the books follows a digger that
// works apart.
const watchID = "watch-1"

// apartFile says which services of a data directory work apart, so that no second one is
// started here by mistake: it would sign another history with the same key.
const apartFile = "apart.json"

type apartNote struct {
	Apart []string `json:"apart"`
	// Moving are the stations whose hand-over did not end, and the directory to or from which.
	Moving map[string]string `json:"moving,omitempty"`
}

// Split says which services a process runs, and which of the others it must reach.
type Split struct {
	Books    bool
	Market   bool
	Stations []string // digger and refinery, if they run here
}

// ParseServices reads the names of services.
func ParseServices(names []string) (Split, error) {
	var s Split
	var have []string
	for _, name := range names {
		switch name {
		case ServiceDigger, ServiceRefinery:
			s.Stations = append(s.Stations, name)
		case ServiceMarket:
			s.Market = true
		case ServiceMint, ServiceVault, ServiceTrust, ServiceWeb:
			have = append(have, name)
		default:
			return s, fmt.Errorf("%q is not a service: choose of digger, refinery, mint, vault, trust, web and market", name)
		}
	}
	slices.Sort(s.Stations)
	s.Stations = slices.Compact(s.Stations)
	s.Books = len(have) > 0
	for _, name := range together {
		if s.Books && !slices.Contains(have, name) {
			return s, fmt.Errorf("%s runs in one process with %s, since they share the reserve's books: name all of %s", have[0], name, strings.Join(together, " "))
		}
	}
	switch {
	case len(names) == 0:
		return s, errors.New("name at least one service: digger, refinery, or mint vault trust web")
	case s.Market && !s.Books:
		return s, errors.New("the marketplace in a process of its own is `robotorq market serve`; with run it goes beside mint vault trust web")
	}
	return s, nil
}

// Apart are the stations that work elsewhere.
func (s Split) Apart() (elsewhere []string) {
	for _, name := range []string{ServiceDigger, ServiceRefinery} {
		if !slices.Contains(s.Stations, name) {
			elsewhere = append(elsewhere, name)
		}
	}
	return elsewhere
}

// keepApart refuses to run a station here that works in another process, and the other way
// round; a reserve that is founded in several processes is noted as such.
func (n *Node) keepApart() error {
	note, err := readApart(n.cfg.Data)
	if err != nil {
		return err
	}
	for name, where := range note.Moving {
		return fmt.Errorf("the hand-over of the %s between %s and %s was interrupted: run the same `robotorq hand-over` again", name, n.cfg.Data, where)
	}
	for _, name := range note.Apart {
		if !n.isApart(name) {
			return fmt.Errorf("the %s of this reserve works in another process (%s says so): start this one with `robotorq run %s`, or take the %s back first (`robotorq hand-over --help`)",
				name, n.path(apartFile), strings.Join(together, " "), name)
		}
	}
	for _, name := range n.cfg.Apart {
		if !slices.Contains(note.Apart, name) {
			return fmt.Errorf("the %s of this reserve works in this process until it is handed over: name it too, or run `robotorq hand-over %s --data %s --to DIR` while the reserve is stopped", name, name, n.cfg.Data)
		}
	}
	return nil
}

func (n *Node) isApart(service string) bool { return slices.Contains(n.cfg.Apart, service) }

// askWithin is how long the books' process waits for the answer of a station, and
// askAgain how long one that did not answer is left alone.
const (
	askWithin = 500 * time.Millisecond
	askAgain  = 5 * time.Second
)

// question is what a digger apart is asked, and finality its answer.
type question struct {
	Contract string `json:"contract,omitempty"`
	Robot    string `json:"robot,omitempty"` // whose last report is asked for
}

type finality struct {
	Closed   bool   `json:"closed"`
	Accepted uint64 `json:"accepted"`

	Known  bool        `json:"known,omitempty"` // which report of the robot is the last
	Seq    uint64      `json:"seq,omitempty"`
	Digest merkle.Hash `json:"digest,omitzero"`
}

// succeed makes the follower of a digger that worked here until now go on where its book
// stands: behind the last batch of its outbox, of which the other process has a copy, and
// behind what it learnt.
func succeed(ctx context.Context, db *store.DB) error {
	if err := bus.Succeed(ctx, db, watchID, diggerID); err != nil {
		return err
	}
	return db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		own, err := bus.LoadMark(ctx, tx, diggerID, mintID)
		if err != nil {
			return err
		}
		if ours, err := bus.LoadMark(ctx, tx, watchID, mintID); err != nil || ours.Seq >= own.Seq {
			return err
		}
		return bus.SaveMark(ctx, tx, watchID, mintID, own)
	})
}

// answerQuestions lets other processes ask this one's digger.
func (n *Node) answerQuestions(ctx context.Context) error {
	subject, err := bus.SubjectAsk(diggerID)
	if err != nil {
		return err
	}
	stop, err := n.bus.Subscribe(subject, 256, func(m bus.Message) {
		var q question
		if err := json.Unmarshal(m.Body, &q); err != nil {
			n.log.Warn("a question was not understood", "err", err)
			return
		}
		here := accepted{n}
		a := finality{Closed: here.Closed(q.Contract)}
		a.Accepted = here.Accepted(q.Contract) // after Closed: then it is final
		if q.Robot != "" {
			last, known := here.Head(q.Robot)
			a.Known, a.Seq, a.Digest = known, last.Seq, last.Digest
		}
		body, err := json.Marshal(a)
		if err == nil {
			err = n.bus.Respond(ctx, m, body)
		}
		if err != nil && ctx.Err() == nil {
			n.log.Debug("an answer was not sent; the question comes again", "err", err)
		}
	})
	if err != nil {
		return err
	}
	defer stop()
	<-ctx.Done()
	return nil
}

// remoteDigger is a digger apart as Trust knows it. What it accepted is what its batches
// said so far; whether a closing has taken effect only it can tell, and it counts here
// when its last batch has come.
type remoteDigger struct {
	n *Node

	mu    sync.Mutex
	quiet time.Time // until then it is not asked
}

func (r *remoteDigger) Accepted(contract string) uint64 { return r.n.digger.Accepted(contract) }

func (r *remoteDigger) Closed(contract string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n.clock.Now().Before(r.quiet) {
		return false
	}
	a, err := r.ask(question{Contract: contract})
	if err != nil {
		r.quiet = r.n.clock.Now().Add(askAgain)
		r.n.log.Warn("the digger does not answer: what it accepted last is not known, and the contract waits", "contract", contract, "err", err)
		return false
	}
	return a.Closed && a.Accepted == r.n.digger.Accepted(contract)
}

// Head is what the digger itself says: a batch of it may still be under way.
func (r *remoteDigger) Head(robot string) (proof.Link, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, err := r.ask(question{Robot: robot})
	if err != nil {
		r.n.log.Warn("the digger does not answer: which report of a robot is the last is not known", "robot", robot, "err", err)
	}
	return proof.Link{Seq: a.Seq, Digest: a.Digest}, err == nil && a.Known
}

func (r *remoteDigger) ask(q question) (a finality, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), askWithin)
	defer cancel()
	subject, err := bus.SubjectAsk(diggerID)
	if err != nil {
		return a, err
	}
	body, err := json.Marshal(q)
	if err != nil {
		return a, err
	}
	answer, err := r.n.bus.Request(ctx, bus.Message{Subject: subject, Body: body})
	if err != nil {
		return a, err
	}
	return a, json.Unmarshal(answer.Body, &a)
}

// hearDigger tells robots that ask over HTTP what a digger apart says on the bus.
func (n *Node) hearDigger(ctx context.Context) error {
	subject, err := bus.SubjectAnswers(diggerID)
	if err != nil {
		return err
	}
	stop, err := n.bus.Subscribe(subject, 1024, func(m bus.Message) {
		ack, err := bus.DecodeAck(m.Body)
		if err == nil {
			n.reports.say(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], ack)
		}
	})
	if err != nil {
		return err
	}
	defer stop()
	<-ctx.Done()
	return nil
}

// forward hands a report that came over HTTP to a digger apart.
func (n *Node) forward(ctx context.Context, robot string, body []byte) error {
	subject, err := bus.SubjectReport(diggerID, robot)
	if err != nil {
		return err
	}
	return n.bus.Publish(ctx, bus.Message{Subject: subject, Body: body})
}
