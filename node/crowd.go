package node

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// Crowd is a reserve of many members, for [BenchCrowd].
type Crowd struct {
	Dir      string // a directory without a reserve
	Members  int
	Log      *slog.Logger
	Progress func(stage string, done, total uint64) // may be nil
}

// BenchCrowd founds a reserve and enrols its members, each as the registrar does it: signed
// by the registrar, admitted by Trust, logged by the mint, with a wallet in the vault's
// books. Only the members' own keys are made up, which nobody can sign with: a hundred
// thousand Falcon keys would take a quarter of an hour.
func BenchCrowd(ctx context.Context, c Crowd) error {
	if c.Progress == nil {
		c.Progress = func(string, uint64, uint64) {}
	}
	n, err := open(ctx, Config{
		Data: c.Dir, Listen: "127.0.0.1:0", Log: c.Log, Policy: []byte(`{"enrol_per_day":4503599627370496}`),
	})
	if err != nil {
		return err
	}
	return errors.Join(n.crowd(ctx, c), n.close())
}

// crowd runs the stations until everybody is enrolled.
func (n *Node) crowd(parent context.Context, c Crowd) (err error) {
	ctx, cancel := context.WithCancelCause(parent)
	n.cancel = cancel
	n.connect(ctx)
	defer func() {
		cause := context.Cause(ctx)
		cancel(errDone)
		n.work.Wait()
		if err == nil && cause != nil && !errors.Is(cause, errDone) {
			err = cause
		}
	}()
	if err := n.begin(ctx); err != nil {
		return err
	}
	signed, failed := make(chan seal.Envelope, 64), make(chan error, 1)
	var work sync.WaitGroup
	work.Go(func() {
		defer close(signed)
		for i := range c.Members {
			env, err := n.signMember(i)
			if err != nil {
				failed <- err
				return
			}
			select {
			case signed <- env:
			case <-ctx.Done():
				return
			}
		}
	})
	defer work.Wait()
	defer cancel(errDone)
	done := 0
	for env := range signed {
		if err := n.trust.Submit(ctx, env); err != nil {
			return err
		}
		done++
		c.Progress("members admitted", uint64(done), uint64(c.Members))
	}
	select {
	case err := <-failed:
		return err
	default:
	}
	return n.heard(ctx, c)
}

// heard waits until every station has followed the log as far as Trust has filled it. It
// gives up when a minute goes by in which nobody has heard anything.
func (n *Node) heard(ctx context.Context, c Crowd) error {
	ticker, stop := n.clock.NewTicker(100 * time.Millisecond)
	defer stop()
	for last, since := -1, n.clock.Now(); ; {
		var all, vault, digger, wallets int
		n.trust.With(func(r *proof.Registry) { all = r.Len() })
		n.digger.With(func(r *proof.Registry) { digger = r.Len() })
		n.vault.With(func(b *ledger.Book, r *proof.Registry) { vault, wallets = r.Len(), int(b.State().Accounts) })
		c.Progress("members with a wallet", uint64(wallets), uint64(c.Members))
		if vault == all && digger == all {
			return nil
		}
		if now := n.clock.Now(); vault+digger > last {
			last, since = vault+digger, now
		} else if now.Sub(since) > time.Minute {
			return fmt.Errorf("of %d documents the vault has heard %d and the digger %d, and a minute went by without another", all, vault, digger)
		}
		select {
		case <-ticker:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func crowdMember(i int) string { return fmt.Sprintf("m%07d", i) }

// signMember is the enrolment of a member, signed by the registrar.
func (n *Node) signMember(i int) (seal.Envelope, error) {
	id, now := crowdMember(i), n.nowMS()
	e := &seal.Enrolment{
		Origin: n.identity.Origin, ID: id, Version: 1, IssuedMS: now,
		Member: &seal.MemberTerms{Subject: merkle.LeafHash([]byte(n.identity.Origin + " " + id)), Registrar: registrarID, Status: seal.StatusActive},
	}
	for _, alg := range seal.RequiredAlgorithms(seal.RoleMember) {
		e.Keys = append(e.Keys, seal.NewKey(id, seal.RoleMember, alg, madeUpKey(alg, id), now))
	}
	payload, err := e.Encode()
	if err != nil {
		return seal.Envelope{}, err
	}
	return n.ring.Registrar.Sign(proof.TypeEnrolment, payload)
}

// madeUpKey are bytes of the length of a public key that nobody holds.
func madeUpKey(alg, id string) []byte {
	a, ok := seal.Lookup(alg)
	if !ok {
		panic("node: a role requires an algorithm that is not there")
	}
	size := a.Sizes().Public
	public := make([]byte, 0, size+sha256.Size)
	for i := uint64(0); len(public) < size; i++ {
		block := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(alg+" "+id), i))
		public = append(public, block[:]...)
	}
	return public[:size]
}
