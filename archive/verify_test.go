package archive_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
)

func TestAMissingArtefactIsNamedByTheEntryThatNamesIt(t *testing.T) {
	for _, class := range []archive.Class{archive.Identity, archive.Ingots, archive.Spine} {
		r, dir := honest(t)
		packs := filepath.Join(dir, "packs")
		for _, f := range files(t, packs) {
			if strings.HasPrefix(filepath.Base(f), string(class)) {
				must(t, os.Remove(f))
			}
		}
		_, err := archive.VerifyDir(t.Context(), dir, options(r))
		f := proof.AsFault(err)
		if f == nil || f.Rule != "missing_artefact" || f.Digest.IsZero() || !strings.Contains(f.Detail, "log entry") {
			t.Errorf("without class %s: %v", class, err)
		}
	}
}

func TestWithoutItsWorkAReserveDoesNotVerify(t *testing.T) {
	r, dir := smallReserve(t), t.TempDir()
	last := len(r.Work[prooftest.Digger]) - 2
	r.Work[prooftest.Digger] = r.Work[prooftest.Digger][:last]
	keep(t, r, dir)
	_, err := archive.VerifyDir(t.Context(), dir, options(r))
	if f := proof.AsFault(err); f == nil || !strings.HasPrefix(f.Artefact, "ingot") && !strings.HasPrefix(f.Artefact, "pour") {
		t.Fatal(err)
	}
}

func TestAFaultInAWellKeptArtefactNamesItAndWhereItLies(t *testing.T) {
	r, dir := smallReserve(t), t.TempDir()
	for _, e := range r.Log {
		if e.PayloadType == proof.TypeRun {
			env := r.Envelopes[e.Digest]
			env.Signatures = append([]seal.Signature{}, env.Signatures...)
			sig := append([]byte{}, env.Signatures[0].Sig...)
			sig[len(sig)/2] ^= 1
			env.Signatures[0].Sig = sig
			r.Envelopes[e.Digest] = env
			break
		}
	}
	keep(t, r, dir)
	_, err := archive.VerifyDir(t.Context(), dir, options(r))
	f := proof.AsFault(err)
	if f == nil || f.Artefact != "run 1" || !strings.Contains(f.Detail, "[packs/spine-00000001-") {
		t.Fatal(err)
	}
}

func TestACheckpointOfAnotherLogOrSignedByOthersIsRefused(t *testing.T) {
	r, dir := smallReserve(t), t.TempDir()
	own := r.Signers[prooftest.Origin]
	r.Signers[prooftest.Origin] = prooftest.Signer(t, prooftest.Origin+"x", seal.RoleLog)
	keep(t, r, dir)
	r.Signers[prooftest.Origin] = own
	_, err := archive.VerifyDir(t.Context(), dir, options(r))
	if f := proof.AsFault(err); f == nil || f.Artefact != "log/checkpoint" {
		t.Fatal(err)
	}
}

func TestAnotherRootIsRefused(t *testing.T) {
	r, dir := honest(t)
	opts := options(r)
	opts.Roots = []merkle.Hash{{1}}
	_, err := archive.VerifyDir(t.Context(), dir, opts)
	if f := proof.AsFault(err); f == nil || f.Rule != "charter_root" {
		t.Fatal(err)
	}
}

func TestADirectoryThatIsNotThereCannotBeChecked(t *testing.T) {
	r := prooftest.New(t, prooftest.Tiny())
	_, err := archive.VerifyDir(t.Context(), filepath.Join(t.TempDir(), "nowhere"), options(r))
	if err == nil {
		t.Fatal("verified")
	}
}

func TestWhatACrashLeftIsCountedNotRefused(t *testing.T) {
	r, dir := smallReserve(t), t.TempDir()
	logged := len(r.Log)
	before := *r
	keep(t, r, dir)

	// Written to the packs, and then the machine stopped.
	robot := r.Enrol("robot-d", 5, 2)
	contract := r.Contract(3200, robot)
	r.Dig(robot.Report(contract.ID, robot.Readings(20)))
	r.Pour(5)
	r.Mint()
	w := openWriter(t, filepath.Join(dir, "packs"), archive.WriterOptions{})
	keepPacks(t, r, w)
	must(t, w.Close())
	must(t, os.WriteFile(filepath.Join(dir, "packs", "work.sealing"), []byte("robotorq-pack/1 wo"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "log", "checkpoint1234567"), []byte("reserve.exam"), 0o644))

	sum, err := archive.VerifyDir(t.Context(), dir, options(r))
	// The batch of the last contract cannot be judged before the contract is
	// logged; a digger knows a contract only from the log.
	if f := proof.AsFault(err); f == nil || !strings.HasPrefix(f.Artefact, "batch") {
		t.Fatalf("a batch under a contract that is not logged: %v", err)
	}
	appendLog(t, r, dir, r.Log[logged:logged+2])
	sum, err = archive.VerifyDir(t.Context(), dir, options(r))
	must(t, err)
	if sum.Uncovered != 2 || len(sum.Unlogged) != 2 || len(sum.Residue) != 1 || sum.Size != uint64(logged+2) {
		t.Fatalf("%+v", sum)
	}
	appendLog(t, r, dir, r.Log[logged+2:])
	must(t, openWriter(t, filepath.Join(dir, "packs"), archive.WriterOptions{}).Close())
	sum, err = archive.VerifyDir(t.Context(), dir, options(r))
	must(t, err)
	if len(sum.Unlogged) != 0 || len(sum.Residue) != 0 || sum.Replay.Certificates <= uint64(len(before.Certs)) {
		t.Fatalf("%+v", sum)
	}
}

func TestTheWorkOfManyDiggersVerifiesWhateverTheOrderInWhichItLies(t *testing.T) {
	r, dir := prooftest.New(t, prooftest.Tiny()), t.TempDir()
	ids := []string{"digger-a", "digger-b", "digger-c"}
	r.NextCharter(func(c *seal.Charter) {
		for _, id := range ids {
			r.Signers[id] = prooftest.Signer(t, id, seal.RoleDigger)
			c.Keys = append(c.Keys, r.Signers[id].PublicKeys(r.Now)...)
		}
	})
	w := openWriter(t, filepath.Join(dir, "packs"), archive.WriterOptions{BlockBytes: 3 << 10})
	var messages []proof.BatchMessage
	for _, id := range ids {
		robot := r.EnrolWith("robot-of-"+id, 2, 1, id)
		contract := r.Contract(1600, robot)
		for range 3 {
			m := r.SealBy(id, robot.Report(contract.ID, robot.Readings(11)))
			r.Deliver(m)
			messages = append(messages, m)
		}
	}
	for r.Pour(2) > 0 {
		r.Mint()
	}
	// Diggers take turns: 0, 3, 6, 1, 4, 7, …; half of it is sealed.
	for i := range messages {
		m := messages[i%3*3+i/3]
		head, err := archive.EnvelopeRecord(m.Batch)
		must(t, err)
		rs := []archive.Record{head}
		for _, env := range m.Reports {
			rec, err := archive.EnvelopeRecord(env)
			must(t, err)
			rs = append(rs, rec)
		}
		must(t, w.Append(archive.Work, rs...))
		if i%2 == 1 && i < 6 {
			must(t, w.Seal(archive.Work))
		}
	}
	r.Work = nil
	keepPacks(t, r, w)
	must(t, w.Close())
	appendLog(t, r, dir, r.Log)
	sum, err := archive.VerifyDir(t.Context(), dir, options(r))
	must(t, err)
	if sum.Replay.Batches != 9 || sum.Replay.Certificates != uint64(len(r.Certs)) || sum.Replay.Certificates == 0 {
		t.Fatalf("%+v", sum)
	}
	checkExports(t, r, openIndex(t, dir, r))
}

// TestALiveDirectoryVerifiesAgainAndAgain verifies and exports a directory while
// it is being written.
func TestALiveDirectoryVerifiesAgainAndAgain(t *testing.T) {
	r, dir := smallReserve(t), t.TempDir()
	keep(t, r, dir)
	x := openIndex(t, dir, r)
	robot := r.Enrol("robot-e", 5, 2)
	contract := r.Contract(160_000, robot)
	opts, n := options(r), len(r.Log)
	opts.Live = true
	done, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(failed)
		for rounds := 0; ; rounds++ {
			sum, err := archive.VerifyDir(t.Context(), dir, opts)
			if err == nil {
				err = x.Refresh(t.Context())
			}
			if err == nil {
				_, err = x.Export(x.Certificates())
			}
			if err != nil {
				failed <- err
				return
			}
			select {
			case <-done:
				if sum.Size <= uint64(n) {
					failed <- errors.New("nothing was logged")
				}
				t.Logf("%d rounds, the last with %d entries", rounds, sum.Size)
				return
			default:
			}
		}
	}()
	w := openWriter(t, filepath.Join(dir, "packs"), archive.WriterOptions{BlockBytes: 4 << 10, SealBytes: 30_000})
	keepPacks(t, r, w)
	appendLog(t, r, dir, r.Log[n-2:])
	logged := len(r.Log)
	for range 12 {
		r.Dig(robot.Report(contract.ID, robot.Readings(20)))
		r.Pour(5)
		r.Mint()
		last := r.Work[prooftest.Digger]
		all := r.Work
		r.Work = map[string][]proof.BatchMessage{prooftest.Digger: last[len(last)-1:]}
		log := r.Log
		r.Log = log[logged:]
		keepPacks(t, r, w)
		r.Work, r.Log = all, log
		appendLog(t, r, dir, r.Log[logged:])
		logged = len(r.Log)
	}
	must(t, w.Close())
	close(done)
	must(t, <-failed)
	opts.Live = false
	if _, err := archive.VerifyDir(t.Context(), dir, opts); err != nil {
		t.Fatal(err)
	}
}
