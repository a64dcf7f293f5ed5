package mint_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/feed"
	"robotorq.org/reserve/feed/feedtest"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/mint"
	"robotorq.org/reserve/mint/prooflog"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
)

// clock shows the reserve's virtual time; its timers run in real time, twenty times
// as fast.
type clock struct{ ms atomic.Uint64 }

func (c *clock) Now() time.Time { return time.UnixMilli(int64(c.ms.Load())) }
func (c *clock) NewTimer(d time.Duration) (<-chan time.Time, func() bool) {
	t := time.NewTimer(d / 20)
	return t.C, t.Stop
}

// rig is a mint on a directory of its own, with everything that comes before it
// made by prooftest.
type rig struct {
	*prooftest.Reserve
	t     *testing.T
	dir   string
	clock *clock
	opt   mint.Options
	db    *store.DB
	s     *mint.Station

	trust, vault, batches, pours feedtest.Chain
	told                         int // documents of the reserve's log that were sent
	stop                         func() error
	down                         func()
}

func newRig(t *testing.T) *rig {
	r := &rig{Reserve: prooftest.New(t, prooftest.Tiny()), t: t, dir: t.TempDir(), clock: &clock{}}
	r.trust = feedtest.Chain{Producer: prooftest.Trust, Subject: "rtq.vault.document"}
	r.vault = feedtest.Chain{Producer: prooftest.Vault, Subject: "rtq.vault.document"}
	r.batches = feedtest.Chain{Producer: prooftest.Digger, Subject: "rtq.batch." + prooftest.Digger}
	r.pours = feedtest.Chain{Producer: prooftest.Refinery, Subject: "rtq.pour." + prooftest.Refinery}
	r.opt = mint.Options{ID: prooftest.Mint, Profile: r.Profile, Signer: r.Signers[prooftest.Mint], Clock: r.clock}
	r.open()
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) open() { r.t.Helper(); r.must(r.tryOpen()) }

// tryOpen opens the mint from its directory.
func (r *rig) tryOpen() (err error) {
	r.t.Helper()
	ctx := context.Background()
	o := r.opt
	r.db, err = store.Open(ctx, filepath.Join(r.dir, "mint.db"), store.Options{Schemas: mint.Schemas()})
	r.must(err)
	o.DB = r.db
	o.Outbox, err = bus.NewOutbox(ctx, r.db, prooftest.Mint, prooftest.Digger)
	r.must(err)
	o.Packs, err = archive.OpenWriter(filepath.Join(r.dir, "packs"), archive.WriterOptions{})
	r.must(err)
	o.Shelf, err = archive.OpenReader(filepath.Join(r.dir, "packs"))
	r.must(err)
	signers, err := checkpoint.Signers(r.Signers[prooftest.Origin])
	r.must(err)
	o.Log, err = prooflog.Open(ctx, filepath.Join(r.dir, "log"), prooflog.Options{Signer: signers[0], Additional: signers[1:], BatchDelay: time.Millisecond})
	r.must(err)
	r.stop = func() error { return nil }
	r.down = sync.OnceFunc(func() {
		_ = r.stop()
		r.must(errors.Join(o.Log.Close(ctx), o.Packs.Close(), o.Shelf.Close(), o.DB.Close()))
	})
	r.t.Cleanup(r.down)
	r.clock.ms.Store(max(r.Now, r.clock.ms.Load()))
	r.s, err = mint.Open(ctx, o)
	return err
}

// run starts Run; stop ends it and returns its error.
func (r *rig) run() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	s := r.s
	go func() { ended <- s.Run(ctx) }()
	r.stop = sync.OnceValue(func() error { cancel(); return <-ended })
}

// runOut returns what Run ends with by itself.
func (r *rig) runOut() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	err := r.s.Run(ctx)
	if ctx.Err() != nil {
		r.t.Fatal("Run does not end by itself")
	}
	return err
}

func (r *rig) restart() { r.t.Helper(); r.down(); r.open() }

// documents sends what the reserve has logged of trust's since the last call.
func (r *rig) documents() (msgs []bus.Message) {
	r.t.Helper()
	for ; r.told < len(r.Log); r.told++ {
		if e := r.Log[r.told]; proof.Concerns(e.PayloadType) {
			msgs = append(msgs, r.document(&r.trust, r.Envelopes[e.Digest]))
		}
	}
	return msgs
}

func (r *rig) document(c *feedtest.Chain, env seal.Envelope) bus.Message {
	r.t.Helper()
	body, err := env.EncodeCBOR()
	r.must(err)
	return c.Next(body)
}

func (r *rig) learn() {
	r.t.Helper()
	if msgs := r.documents(); len(msgs) > 0 {
		r.must(r.s.Documents(context.Background(), msgs))
	}
}

// batch delivers a batch to the reserve's refinery and makes its message.
func (r *rig) batch(m proof.BatchMessage) bus.Message {
	r.t.Helper()
	r.Deliver(m)
	return r.batchMessage(m)
}

func (r *rig) batchMessage(m proof.BatchMessage) bus.Message {
	r.t.Helper()
	body, err := m.Encode()
	r.must(err)
	r.clock.ms.Store(max(r.Now, r.clock.ms.Load()))
	return r.batches.Next(body)
}

// cut makes the message of a pour of up to limit full ingots.
func (r *rig) cut(limit int) bus.Message {
	r.t.Helper()
	ingots := r.Builder.Cut(limit)
	proof.HashIngots(ingots, 2)
	return r.pour(ingots)
}

func (r *rig) pour(ingots []proof.Ingot) bus.Message {
	r.t.Helper()
	m := r.SignPour(ingots)
	r.KeepPour(m)
	body, err := m.Encode()
	r.must(err)
	return r.pours.Next(body)
}

// robot enrols a robot with a contract and tells the mint.
func (r *rig) robot(id string) (*prooftest.Robot, string) {
	r.t.Helper()
	robot := r.Enrol(id, 100, 10)
	c := r.Contract(16_000_000, robot)
	r.learn()
	return robot, c.ID
}

// ore returns readings of 10 seconds that give so much ore.
func ore(robot *prooftest.Robot, n uint64) []proof.Reading {
	return []proof.Reading{{Start: robot.End, End: robot.End + 10_000, Energy: n * 1000, Tokens: 10}}
}

func (r *rig) feedBatches(msgs ...bus.Message) error {
	return r.s.Batches(context.Background(), msgs)
}
func (r *rig) feedPours(msgs ...bus.Message) error { return r.s.Pours(context.Background(), msgs) }

// work brings one batch and one pour of full ingots (16 ore each).
func (r *rig) work(robot *prooftest.Robot, contract string, ingots int) {
	r.t.Helper()
	r.must(r.feedBatches(r.batch(r.Seal(robot.Report(contract, ore(robot, uint64(16*ingots)))))))
	r.must(r.feedPours(r.cut(ingots)))
}

// until waits for a number in the store.
func (r *rig) until(want int, query string) {
	r.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		got := feedtest.Int(r.t, r.db, query)
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%s is %d, want %d; run: %v", query, got, want, r.stop())
		}
	}
}

const (
	certificates = "SELECT count(*) FROM mint_certificate"
	unlogged     = "SELECT count(*) FROM mint_queue"
	unchecked    = "SELECT count(*) FROM mint_ingot WHERE serial IS NOT NULL"
)

// settled waits until n certificates are logged and nothing is queued or unchecked.
func (r *rig) settled(n int) {
	r.t.Helper()
	r.until(n, certificates)
	r.until(0, unlogged)
	r.until(0, unchecked)
}

// verify checks log and packs of the directory, byte for byte, and that the feed
// holds every entry of the log once and in order.
func (r *rig) verify(certs uint64) archive.Summary {
	r.t.Helper()
	fed := feedtest.Handed(r.t, r.db, prooftest.Mint)
	r.down()
	sum, err := archive.VerifyDir(context.Background(), r.dir, archive.Options{Profile: r.Profile, Roots: []merkle.Hash{r.Pin()}, Workers: 2})
	r.must(err)
	if sum.Replay.Certificates != certs || sum.Replay.Waiting != 0 || sum.Duplicates != 0 || len(sum.Residue) != 0 || len(sum.Unlogged) != 0 {
		r.t.Fatalf("%+v", sum)
	}
	var want, got []merkle.Hash
	for e, err := range archive.OpenLog(os.DirFS(filepath.Join(r.dir, "log"))).Entries(0, sum.Size) {
		r.must(err)
		want = append(want, e.Digest)
	}
	for _, body := range fed {
		env, payloads, err := feed.Decode(body)
		r.must(err)
		for _, p := range payloads {
			got = append(got, seal.Digest(proof.TypeCertificate, p))
		}
		got = append(got, env.Digest())
	}
	if len(got) != len(want) {
		r.t.Fatalf("the feed carries %d artefacts, the log %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			r.t.Fatalf("artefact %d of the feed is not entry %d of the log", i, i)
		}
	}
	return sum
}

// snapshot copies the directory as a kill -9 would leave it.
func (r *rig) snapshot() string {
	r.t.Helper()
	to := r.t.TempDir()
	err := filepath.WalkDir(r.dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // of Tessera's temporary files
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(r.dir, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		if filepath.Ext(path) == ".db-shm" {
			return nil
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o644)
	})
	r.must(err)
	return to
}
