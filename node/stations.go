package node

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/digger"
	"robotorq.org/reserve/mint"
	"robotorq.org/reserve/mint/prooflog"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/refinery"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/trust"
	"robotorq.org/reserve/vault"
)

// newOrigin makes up the name of a reserve that was given none: random, so that
// nothing signed for one is valid in another.
func newOrigin(demo bool) string {
	var b [4]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	kind := "reserve"
	if demo {
		kind = "demo"
	}
	return kind + ".robotorq.org/" + hex.EncodeToString(b[:])
}

// openLog opens packs and proof log for the mint.
func (n *Node) openLog(ctx context.Context) (err error) {
	if n.packs, err = archive.OpenWriter(n.path(packsDir), archive.WriterOptions{}); err != nil {
		return err
	}
	n.later(n.packs.Close)
	if n.shelf, err = archive.OpenReader(n.path(packsDir)); err != nil {
		return err
	}
	n.later(n.shelf.Close)
	signers, err := logSigners(n.ring.Log)
	if err != nil {
		return err
	}
	n.prooflog, err = prooflog.Open(ctx, n.path(logDir), prooflog.Options{
		Signer: signers[seal.Ed25519], Additional: []note.Signer{signers[seal.Falcon512Padded]}, Warn: n.log.With("room", "log"),
		Witnesses: n.logWitnesses(),
	})
	if err == nil {
		n.later(func() error { return n.prooflog.Close(context.Background()) })
	}
	return err
}

func logSigners(log *seal.Signer) (map[string]note.Signer, error) {
	signers := map[string]note.Signer{}
	for _, alg := range seal.RequiredAlgorithms(seal.RoleLog) {
		key, ok := log.Key(alg)
		if !ok {
			return nil, fmt.Errorf("the log's key file has no %s key", alg)
		}
		s, err := checkpoint.NewSigner(log.Name, key)
		if err != nil {
			return nil, err
		}
		signers[alg] = s
	}
	return signers, nil
}

func (n *Node) openVault(ctx context.Context) error {
	out, err := n.outbox(ctx, "vault", vaultID, mintID)
	if err != nil {
		return err
	}
	n.vault, err = vault.Open(ctx, vault.Options{
		ID: vaultID, Origin: n.identity.Origin, Profile: n.profile, Signer: n.ring.Vault, DB: n.dbs["vault"], Outbox: out,
		Clock: n.clock, Logger: n.log, Posted: n.posted, Daily: true, Verified: n.latency.verifying("vault"),
	})
	return err
}

func (n *Node) openTrust(ctx context.Context) error {
	out, err := n.outbox(ctx, "trust", trustID, mintID)
	if err != nil {
		return err
	}
	n.trust, err = trust.Open(ctx, trust.Options{
		ID: trustID, Profile: n.profile, Signer: n.ring.Trust, DB: n.dbs["trust"], Outbox: out,
		Clock: n.clock, Vault: n.vault, Digger: n.askedDigger(), Logger: n.log,
	})
	return err
}

// askedDigger is the digger as Trust asks it.
func (n *Node) askedDigger() trust.Digger {
	if n.isApart(ServiceDigger) {
		return &remoteDigger{n: n}
	}
	return accepted{n}
}

func (n *Node) openDigger(ctx context.Context) (err error) {
	o := digger.Options{ID: diggerID, Profile: n.profile, DB: n.dbs["digger"], Clock: n.clock, Logger: n.log, Sealed: n.sealed}
	if n.isApart(ServiceDigger) {
		o.Follows = watchID
	} else {
		consumers := []string{refineryID, mintID}
		if n.face == nil {
			consumers = append(consumers, watchID)
		} else {
			o.Refused = n.face.explorer.Refused
		}
		o.Signer, o.Acknowledge, o.Verified = n.ring.Digger, n.acknowledge, n.latency.verifying("digger")
		if o.Outbox, err = n.outbox(ctx, "digger", diggerID, consumers...); err == nil && n.face != nil {
			err = o.Outbox.Retire(ctx, watchID) // of the time when it worked elsewhere
		}
	}
	if err != nil {
		return err
	}
	n.digger, err = digger.Open(ctx, o)
	return err
}

// acknowledge answers a robot on the bus, and where it asks over HTTP.
func (n *Node) acknowledge(robot string, ack bus.Ack) {
	n.reports.say(robot, ack)
	subject, err := bus.SubjectAck(diggerID, robot)
	if err == nil {
		err = n.bus.Publish(context.Background(), bus.Message{Subject: subject, Body: ack.Encode()})
	}
	if err != nil {
		n.log.Debug("acknowledgement not sent; the robot sends again", "robot", robot, "err", err)
	}
}

func (n *Node) openRefinery(ctx context.Context) error {
	if n.isApart(ServiceRefinery) {
		if len(n.cfg.Resume) > 0 {
			return errors.New("--resume is for the process in which the refinery works")
		}
		return nil
	}
	var stopped func(string, *proof.Fault)
	if n.face != nil {
		stopped = n.face.explorer.Stopped
	}
	out, err := n.outbox(ctx, "refinery", refineryID, mintID)
	if err != nil {
		return err
	}
	n.refinery, err = refinery.Open(ctx, refinery.Options{
		ID: refineryID, Profile: n.profile, Signer: n.ring.Refinery, DB: n.dbs["refinery"], Outbox: out, Clock: n.clock, Logger: n.log,
		Stopped: stopped, Verified: n.latency.verifying("refinery"),
	})
	if err != nil {
		return err
	}
	return n.resume(ctx)
}

// resume lets the diggers go on that the operator has looked at.
func (n *Node) resume(ctx context.Context) error {
	for _, producer := range n.cfg.Resume {
		if producer != diggerID {
			return fmt.Errorf("%q is not a digger of this reserve: only %s can be stopped and resumed", producer, diggerID)
		}
		if err := n.refinery.Resume(ctx, producer); err != nil {
			return err
		}
		n.log.Warn("a stopped digger is tried again", "digger", producer)
	}
	return nil
}

func (n *Node) openMint(ctx context.Context) error {
	followers := []string{diggerID, refineryID, vaultID}
	if n.isApart(ServiceDigger) {
		followers = append(followers, watchID)
	}
	out, err := n.outbox(ctx, "mint", mintID, followers...)
	if err == nil && !n.isApart(ServiceDigger) {
		err = out.Retire(ctx, watchID)
	}
	if err != nil {
		return err
	}
	n.mint, err = mint.Open(ctx, mint.Options{
		ID: mintID, Profile: n.profile, Signer: n.ring.Mint, DB: n.dbs["mint"], Outbox: out, Packs: n.packs, Shelf: n.shelf, Log: n.prooflog,
		Clock: n.clock, Logger: n.log, Poured: n.face.explorer.Poured, Minted: n.certified, Rest: n.cfg.rest,
		Verified: n.latency.verifying("mint"),
	})
	return outOfStep(err)
}

// connect starts the stations and what flows between them.
func (n *Node) connect(ctx context.Context) {
	n.start(ctx, "vault", n.vault.Run)
	n.start(ctx, "trust", n.trust.Run)
	n.start(ctx, "recalls", n.recalls)
	n.start(ctx, "mint", n.mint.Run)
	n.start(ctx, "explorer", n.face.explorer.Run)
	n.relay(ctx)
	documents := []string{bus.SubjectContracts(), bus.SubjectRobots(), bus.SubjectVaults()}
	n.follow(ctx, "mint", mintID, trustID, documents, n.mint.Documents)
	n.follow(ctx, "mint", mintID, vaultID, []string{bus.SubjectVaults()}, n.mint.Documents)
	batches, pours, logged := own(bus.SubjectBatch(diggerID)), own(bus.SubjectPour(refineryID)), own(bus.SubjectCertificate(mintID))
	n.follow(ctx, "mint", mintID, diggerID, batches, n.mint.Batches)
	n.follow(ctx, "mint", mintID, refineryID, pours, n.mint.Pours)
	n.follow(ctx, "vault", vaultID, mintID, logged, n.vault.Logged)
	if !n.isApart(ServiceRefinery) {
		n.connectRefinery(ctx, logged)
	}
	if !n.isApart(ServiceDigger) {
		n.connectDigger(ctx, logged)
		return
	}
	n.follow(ctx, "digger", watchID, diggerID, batches, n.digger.Follow)
	n.follow(ctx, "digger", watchID, mintID, logged, n.digger.Documents)
	n.start(ctx, "what the digger says", n.hearDigger)
}

// relay hands over what the stations of this process have for others.
func (n *Node) relay(ctx context.Context) {
	for _, box := range n.boxes {
		n.start(ctx, "outbox of "+box.Producer(), n.enduring("outbox of "+box.Producer(), func(ctx context.Context) error {
			return box.Run(ctx, n.bus, bus.RelayOptions{Clock: n.clock, Log: n.log})
		}))
	}
}

func (n *Node) connectDigger(ctx context.Context, logged []string) {
	n.start(ctx, "digger", n.digger.Run)
	n.start(ctx, "reports", n.receive)
	n.follow(ctx, "digger", diggerID, mintID, logged, n.digger.Documents)
}

func (n *Node) connectRefinery(ctx context.Context, logged []string) {
	n.follow(ctx, "refinery", refineryID, diggerID, own(bus.SubjectBatch(diggerID)), n.refinery.Batches)
	n.follow(ctx, "refinery", refineryID, mintID, logged, n.refinery.Documents)
}

// own is the subject of one of this process's own stations.
func own(subject string, err error) []string {
	if err != nil {
		panic("node: a station's own id makes no subject: " + err.Error())
	}
	return []string{subject}
}

// follow starts one consumer of one producer.
func (n *Node) follow(ctx context.Context, db, consumer, producer string, subjects []string, handle func(context.Context, []bus.Message) error) {
	n.start(ctx, consumer+" following "+producer, n.enduring(consumer+" following "+producer, func(ctx context.Context) error {
		err := bus.Consume(ctx, n.bus, bus.Consumer{
			Name: consumer, Producer: producer, Subjects: subjects, Mark: bus.StoredMark(n.dbs[db], consumer, producer),
			Handle: handle, Clock: n.clock, Log: n.log,
		})
		if bus.CodeOf(err) != bus.CodeHalted || producer != diggerID && producer != refineryID {
			return err
		}
		// A station refused what this producer sent. It is stopped, and everything
		// else goes on.
		n.log.Error("a producer is stopped until somebody has looked", "producer", producer, "by", consumer, "err", err)
		n.stopped.Store(producer, err)
		n.latency.refuse(db, ruleOf(err))
		<-ctx.Done()
		return nil
	}))
}

// ruleOf is the code under which a consumer refused.
func ruleOf(err error) string {
	var of *bus.Error
	if errors.As(err, &of) && of.Detail != "" {
		return of.Detail
	}
	return string(bus.CodeHalted)
}

// receive hands robots' reports to the digger.
func (n *Node) receive(ctx context.Context) error {
	subject, err := bus.SubjectReports(diggerID)
	if err != nil {
		return err
	}
	stop, err := n.bus.Subscribe(subject, 1024, func(m bus.Message) {
		n.digger.Receive(ctx, m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], m.Body)
	})
	if err != nil {
		return err
	}
	defer stop()
	<-ctx.Done()
	return nil
}

// sealed and posted tell the page, and end a run that reached its goal.
func (n *Node) sealed(b proof.Batch, reports []proof.Report) {
	if n.face != nil {
		n.face.explorer.Sealed(b, reports)
	}
	if goal := n.cfg.Goal.Ore; goal > 0 && n.digger.Ore() >= goal {
		n.goal.Do(func() { close(n.reached) })
	}
}

func (n *Node) certified(m mint.Minted) {
	n.face.explorer.Minted(m)
	if n.cfg.minted != nil {
		n.cfg.minted(m)
	}
}

func (n *Node) posted(p vault.Posted) {
	n.face.explorer.Posted(p)
	if goal := n.cfg.Goal.Certificates; goal > 0 && p.Certificates >= goal {
		n.goal.Do(func() { close(n.reached) })
	}
}
