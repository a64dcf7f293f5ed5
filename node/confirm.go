package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/mint/prooflog"
	"robotorq.org/reserve/mirror"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/trust"

	"golang.org/x/mod/sumdb/note"
)

// confirmEvery is the pause after which a mirror that did not answer is asked again.
const confirmEvery = 5 * time.Second

// confirm asks every mirror whether the log is behind the one that it has, before
// anything is opened that signs. It is asked at each start, not only after a restore:
// nothing in a directory tells for sure that it is an older copy. A mirror that does
// not answer is waited for, since any of them may be the one that has more; to start
// without it, take it out of the configuration.
func (n *Node) confirm(ctx context.Context) error {
	if len(n.cfg.Mirrors) == 0 {
		return nil
	}
	home, err := n.home(ctx)
	if err != nil {
		return err
	}
	for _, url := range n.cfg.Mirrors {
		for told := false; ; told = true {
			err := n.confirmedBy(ctx, url, home)
			if err == nil {
				break
			}
			if !mirror.IsCode(err, mirror.CodeReach) && !mirror.IsCode(err, mirror.CodeBusy) {
				return fmt.Errorf("mirror %s: %w", url, err)
			}
			if !told {
				n.log.Warn("nothing is signed before this mirror has confirmed that the log is not behind it; it is asked again and again", "mirror", url, "err", err)
			}
			if err := n.pause(ctx, confirmEvery); err != nil {
				return err
			}
		}
	}
	return nil
}

func (n *Node) pause(ctx context.Context, d time.Duration) error {
	over, stop := n.clock.NewTimer(d)
	defer stop()
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// home is the log and the packs of this reserve, as a mirror is compared with them.
func (n *Node) home(ctx context.Context) (mirror.Home, error) {
	charters, err := n.admitted(ctx)
	if err != nil {
		return mirror.Home{}, err
	}
	home := mirror.Home{Dir: n.cfg.Data, Origin: n.identity.Origin, Check: archive.Options{Profile: n.profile}, Alone: n.cfg.Alone}
	if home.Restored, err = n.restored(); err != nil {
		return home, err
	}
	home.Check.Roots = n.pins(charters)
	signers, err := checkpoint.Verifiers(n.ring.Log.PublicKeys(0), 0)
	if err != nil {
		return home, err
	}
	home.Open = func(signed []byte) (checkpoint.Checkpoint, error) {
		c, err := checkpoint.Open(signed, n.identity.Origin, signers...)
		for i := len(charters) - 1; err != nil && i >= 0; i-- { // before the log's key was renewed, perhaps
			var before error
			if c, before = proof.OpenForeignCheckpoint(charters[i].Charter, signed, charters[i].IssuedMS); before == nil {
				return c, nil
			}
		}
		return c, err
	}
	return home, os.MkdirAll(n.path(logDir), 0o755)
}

// admitted are the charters in Trust's book. The log itself cannot say them: it is what may
// be lost.
func (n *Node) admitted(ctx context.Context) (charters []*seal.SignedCharter, err error) {
	book, err := trust.Open(ctx, trust.Options{Profile: n.profile, DB: n.dbs["trust"]})
	if err != nil {
		return nil, err
	}
	book.With(func(r *proof.Registry) { charters = r.Charters() })
	return charters, nil
}

// pins are the roots that a mirror's charter must come from: those of the newest
// charter and those who signed it, since a mirror may not have that one yet; and while
// there is none, the root key that lies here.
func (n *Node) pins(charters []*seal.SignedCharter) (pins []merkle.Hash) {
	if len(charters) > 0 {
		c := charters[len(charters)-1]
		for _, k := range c.KeysOf(seal.RoleRoot) {
			signed := slices.ContainsFunc(c.Envelope.Signatures, func(s seal.Signature) bool { return s.KeyID == k.KeyID })
			if k.Alg == seal.SLHDSA128s && (signed || k.ValidAt(c.IssuedMS)) {
				pins = append(pins, seal.KeyHash(k.Alg, k.Public))
			}
		}
	}
	if len(pins) == 0 && n.ring.Root != nil {
		if key, ok := n.ring.Root.Key(seal.SLHDSA128s); ok {
			pins = append(pins, seal.KeyHash(key.Alg, key.Public))
		}
	}
	return pins
}

// confirmedBy asks one mirror, and takes from it what it has beyond the log.
func (n *Node) confirmedBy(ctx context.Context, url string, home mirror.Home) error {
	s, err := mirror.Compare(ctx, mirror.Options{URL: url, Clock: n.clock, Retries: 1}, home)
	if err != nil || s.Copy == "" {
		return err
	}
	n.log.Warn("the log is behind a mirror: it takes the tail from there", "mirror", url, "entries", s.Own.Size, "mirror_entries", s.Theirs.Size)
	if err := s.TakePacks(n.cfg.Data); err != nil {
		return err
	}
	entries, err := s.Entries()
	if err == nil {
		err = n.extendLog(ctx, s.Own.Size, entries)
	}
	return errors.Join(err, s.Drop())
}

// extendLog logs entries that were logged before, and published, from a place on.
func (n *Node) extendLog(ctx context.Context, from uint64, entries [][]byte) error {
	signers, err := logSigners(n.ring.Log)
	if err != nil {
		return err
	}
	l, err := prooflog.Open(ctx, n.path(logDir), prooflog.Options{
		Signer: signers[seal.Ed25519], Additional: []note.Signer{signers[seal.Falcon512Padded]}, Warn: n.log.With("room", "log"),
	})
	if err != nil {
		return err
	}
	_, err = l.Append(ctx, entries)
	if err == nil && l.Size() != from+uint64(len(entries)) {
		err = fmt.Errorf("the log has %d entries after the tail was taken, %d were expected", l.Size(), from+uint64(len(entries)))
	}
	return errors.Join(err, l.Close(context.WithoutCancel(ctx)))
}

// outOfStep says what to do about a log and books that are not of one moment.
func outOfStep(err error) error {
	var e *prooflog.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code {
	case prooflog.CodeBehind:
		return fmt.Errorf("the log is older than the stations' books, and nothing is signed over it: name a mirror that has the rest with --mirror, or bring back log/ and packs/ of the same moment as the books (%w)", err)
	case prooflog.CodeDiverged:
		return fmt.Errorf("the stations' books are older than the log, and nothing is signed over it: what they did since is in the log, but the members' orders are in no log; bring back copies of the *.db files that are not older than log/ and packs/ (%w)", err)
	}
	return err
}
