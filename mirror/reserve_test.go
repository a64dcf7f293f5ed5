package mirror_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/mint/prooflog"
	"robotorq.org/reserve/mirror"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// clock is the machine's.
type clock struct{}

func (clock) NewTimer(d time.Duration) (<-chan time.Time, func() bool) {
	t := time.NewTimer(d)
	return t.C, t.Stop
}

// reserve is a test reserve of the tiny profile that keeps itself in a directory,
// in the order in which a mint does: packs, then the log.
type reserve struct {
	*prooftest.Reserve
	dir      string
	packs    *archive.Writer
	log      *prooflog.Log
	kept     int // entries of Log that are kept
	batches  int // batches of the digger that are kept
	rounds   int
	robot    *prooftest.Robot
	contract proof.Contract
}

func begin(t testing.TB, seal int64) *reserve {
	t.Helper()
	return keep(t, prooftest.New(t, prooftest.Tiny()), t.TempDir(), seal)
}

func keep(t testing.TB, r *prooftest.Reserve, dir string, sealBytes int64) *reserve {
	t.Helper()
	k := &reserve{Reserve: r, dir: dir}
	var err error
	k.packs, err = archive.OpenWriter(filepath.Join(dir, "packs"), archive.WriterOptions{SealBytes: sealBytes, BlockBytes: 4 << 10})
	must(t, err)
	signers, err := checkpoint.Signers(r.Signers[prooftest.Origin])
	must(t, err)
	k.log, err = prooflog.Open(t.Context(), filepath.Join(dir, "log"), prooflog.Options{
		Signer: signers[0], Additional: signers[1:], BatchDelay: time.Millisecond})
	must(t, err)
	t.Cleanup(k.close)
	k.publish()
	return k
}

func (k *reserve) close() {
	if k.log == nil {
		return
	}
	must(k.T, k.packs.Close())
	must(k.T, k.log.Close(context.Background()))
	k.log = nil
}

// publish keeps what is new: the work, then the artefacts of the log, then the
// entries.
func (k *reserve) publish() {
	k.T.Helper()
	for _, m := range k.Work[prooftest.Digger][k.batches:] {
		rs := make([]archive.Record, 0, len(m.Reports)+1)
		for _, env := range append([]seal.Envelope{m.Batch}, m.Reports...) {
			rec, err := archive.EnvelopeRecord(env)
			must(k.T, err)
			rs = append(rs, rec)
		}
		must(k.T, k.packs.Append(archive.Work, rs...))
		must(k.T, k.packs.Flush())
		k.batches++
	}
	var entries [][]byte
	for _, e := range k.Log[k.kept:] {
		env := k.Envelopes[e.Digest]
		entry, err := checkpoint.Entry(e.PayloadType, e.Digest)
		must(k.T, err)
		entries = append(entries, entry)
		switch e.PayloadType {
		case proof.TypeCertificate:
			must(k.T, k.packs.Append(archive.Spine, archive.CertificateRecord(env.Payload)))
			continue
		case proof.TypePour:
			must(k.T, k.packs.Append(archive.Ingots, archive.IngotsRecord(e.Digest, k.Records[e.Digest])))
		}
		rec, err := archive.EnvelopeRecord(env)
		must(k.T, err)
		must(k.T, k.packs.Append(archive.ClassOf(e.PayloadType), rec))
	}
	must(k.T, k.packs.Flush())
	if len(entries) > 0 {
		_, err := k.log.Append(k.T.Context(), entries)
		must(k.T, err)
	}
	k.kept = len(k.Log)
}

// work lets a robot work for a while, pours and mints.
func (k *reserve) work(seconds int) {
	k.T.Helper()
	if k.robot == nil {
		k.robot = k.Enrol("robot-a", 5, 2)
	}
	if k.contract.ID == "" {
		k.contract = k.Contract(1_600_000, k.robot)
		k.publish()
	}
	k.Dig(k.robot.Report(k.contract.ID, k.robot.Readings(seconds)))
	k.publish() // a batch that no pour needs yet
	k.Pour(7)
	k.publish()
	if k.rounds++; k.rounds%4 == 0 { // the mint's signature takes long
		k.Mint()
		k.publish()
	}
}

// serve serves the reserve's directory.
func (k *reserve) serve(t testing.TB) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(handler(k.dir))
	t.Cleanup(s.Close)
	return s
}

func handler(dir string) http.Handler {
	return mirror.Handler(os.DirFS(filepath.Join(dir, "log")), os.DirFS(filepath.Join(dir, "packs")))
}

func (k *reserve) options(url, dir string) mirror.Options {
	return mirror.Options{URL: url, Dir: dir, Roots: []merkle.Hash{k.Pin()}, Clock: clock{}, Stall: 5 * time.Second, Retries: 2}
}

func (k *reserve) check() archive.Options {
	return archive.Options{Roots: []merkle.Hash{k.Pin()}, Profile: k.Profile, Workers: 2}
}

// verify verifies a mirror to the last byte.
func (k *reserve) verify(t testing.TB, dir string) archive.Summary {
	t.Helper()
	sum, err := archive.VerifyDir(t.Context(), dir, k.check())
	must(t, err)
	return sum
}
