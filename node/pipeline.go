package node

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/mint"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/robot"
	"robotorq.org/reserve/robot/uplink"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// Load is a backlog of signed reports for [BenchPipeline].
type Load struct {
	Dir          string // an empty directory on the disk to be measured
	Watts        uint64
	Tokens       uint64 // a second
	Robots       int
	Certificates int    // how many the backlog is good for
	Profile      string // empty: standard
	SealEach     bool   // seal the packs with each certificate, so that what is older can be pruned
	Log          *slog.Logger
	Progress     func(stage string, done, total uint64) // may be nil
}

// PipelineFigures is what a backlog cost on its way from the bus to the minted
// certificate, everything durable.
type PipelineFigures struct {
	Ore               uint64
	Certificates      uint64
	Reports           uint64
	Wall, CPU         time.Duration // CPU of the whole process, all cores
	LimitCPU          time.Duration // three SHA-256 blocks of a long message for each ore
	BytesCertificate  int64         // in the packs, sealed
	LogBytes          int64         // of the proof log, a certificate
	Resident          int64         // peak, bytes, of the whole run
	BlockBefore       time.Duration // per 1,024 blocks, in this run
	BlockAfter        time.Duration
	RecheckedDeferred bool // the check of the ingots outside the sample is not in CPU
}

// Ratio is the limit over what was needed.
func (f PipelineFigures) Ratio() float64 { return f.LimitCPU.Seconds() / f.CPU.Seconds() }

// inFlight is how many reports wait for their mark at once, of all robots.
const inFlight = 1024

// BenchPipeline signs a backlog of reports, then measures how digger, refinery,
// mint, log and vault work it off, wired as in a reserve.
func BenchPipeline(ctx context.Context, load Load) (PipelineFigures, error) {
	b := &pipeline{Load: load, back: &atomic.Int64{}, minted: make(chan uint64, 64)}
	if b.Progress == nil {
		b.Progress = func(string, uint64, uint64) {}
	}
	var err error
	if b.profile, err = torq.ProfileByName(cmp.Or(load.Profile, "standard")); err != nil {
		return PipelineFigures{}, err
	}
	if b.timeline() > 40*time.Hour {
		return PipelineFigures{}, fmt.Errorf("%d robots of %d W need %s for %d certificates, and the rules take no report of more than two days ago: use more robots or fewer certificates", b.Robots, b.Watts, b.timeline(), b.Certificates)
	}
	b.back.Store(int64(b.timeline() + time.Minute))
	n, err := open(ctx, Config{
		Data: load.Dir, Listen: "127.0.0.1:0", Profile: load.Profile, Log: load.Log, clock: Clock{back: b.back}, minted: b.certified, rest: 12 * time.Hour,
		Policy: []byte(`{"stake_target":4503599627370496,"min_members":1}`),
	})
	if err != nil {
		return PipelineFigures{}, err
	}
	b.n = n
	figures, err := b.measure(ctx)
	return figures, errors.Join(err, n.close())
}

type pipeline struct {
	Load
	profile torq.Profile
	n       *Node
	back    *atomic.Int64
	minted  chan uint64
	robots  []*loadedRobot
}

// loadedRobot is one robot of the backlog; reports lie in a file.
type loadedRobot struct {
	id      string
	keys    *seal.Signer
	file    string
	reports uint64
	marked  atomic.Uint64
	wake    chan struct{}
}

// perReport is the ore of one report at full rating.
func (b *pipeline) perReport() uint64 {
	reading, readings := b.lengths()
	return b.Watts * b.Tokens * reading * readings / 1000
}

// lengths are those of an agent's readings, in ms, and how many make its report: the
// shortest reading that carries 100 ore, and a report of 20,000 ore, 10 s at least
// and an hour at most. With another profile than the standard it is ten seconds.
func (b *pipeline) lengths() (readingMS, readings uint64) {
	if b.profile != torq.Standard() {
		return 1000, 10
	}
	const fullOre, least, most = 20_000, 10_000, 3_600_000
	readingMS = robot.Rating{Watts: b.Watts, TokensPerSecond: b.Tokens}.ReadingMS()
	per := b.Watts * b.Tokens * readingMS / 1000
	readings = max((fullOre+per-1)/per, least/readingMS)
	return readingMS, min(readings, most/readingMS)
}

func (b *pipeline) reportsEach() uint64 {
	total := uint64(b.Certificates) * b.n.profile.CertificateOre()
	per := b.perReport() * uint64(b.Robots)
	return (total + per - 1) / per
}

// timeline is how long the robots of the backlog worked.
func (b *pipeline) timeline() time.Duration {
	per := b.perReport() * uint64(b.Robots)
	reports := (uint64(b.Certificates)*b.profile.CertificateOre() + per - 1) / per
	reading, readings := b.lengths()
	return time.Duration(reports*readings*reading) * time.Millisecond
}

func (b *pipeline) certified(m mint.Minted) {
	b.minted <- m.Certificates[len(m.Certificates)-1].Serial
}

func (b *pipeline) measure(parent context.Context) (f PipelineFigures, err error) {
	ctx, cancel := context.WithCancelCause(parent)
	n := b.n
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
		return f, err
	}
	if err := b.prepare(ctx); err != nil {
		return f, err
	}
	runtime.GC()
	f.BlockBefore = kiloBlock()
	before, began := cpuTime(), n.clock.Now()
	if err := b.drive(ctx); err != nil {
		return f, err
	}
	f.Wall, f.CPU = n.clock.Now().Sub(began), cpuTime()-before
	f.BlockAfter = kiloBlock()
	f.Certificates = uint64(b.Certificates)
	f.Ore = f.Certificates * n.profile.CertificateOre()
	f.Reports = b.reportsEach() * uint64(b.Robots)
	f.LimitCPU = time.Duration(float64(f.BlockBefore+f.BlockAfter) / 2 * 3 * float64(f.Ore) / 1024)
	f.RecheckedDeferred = true
	f.Resident, _ = residentPeak()
	return f, b.sizes(&f)
}

// prepare enrols the robots, funds one contract and signs the backlog.
func (b *pipeline) prepare(ctx context.Context) error {
	d := &demo{Node: b.n, people: map[string]*seal.Signer{}}
	var works *seal.Signer
	for _, id := range []string{"works", "owner"} {
		keys, err := seal.NewSigner(id, seal.RoleOrg)
		if err != nil {
			return err
		}
		if err := d.enrolPerson(ctx, seal.RoleOrg, id, keys); err != nil {
			return err
		}
		if id == "works" {
			works = keys
		}
	}
	var ids []string
	for i := range b.Robots {
		r := &loadedRobot{id: fmt.Sprintf("robot-%04d", i+1), wake: make(chan struct{}, 1)}
		var err error
		if r.keys, err = seal.NewSigner(r.id, seal.RoleRobot); err != nil {
			return err
		}
		now := b.n.nowMS()
		err = d.enrol(ctx, &seal.Enrolment{
			Origin: b.n.identity.Origin, ID: r.id, Version: 1, Keys: r.keys.PublicKeys(now), IssuedMS: now,
			Robot: &seal.RobotTerms{Owner: "owner", Digger: diggerID, Watts: b.Watts, TokensPerSecond: b.Tokens, Energy: seal.EnergyMetered},
		})
		if err != nil {
			return err
		}
		b.robots, ids = append(b.robots, r), append(ids, r.id)
		b.Progress("robots enrolled", uint64(i+1), uint64(b.Robots))
	}
	if err := d.until(ctx, "the enterprise's wallet", func() (ok bool) {
		b.n.vault.With(func(book *ledger.Book, r *proof.Registry) {
			_, ok = book.Account("org:works")
			ok = ok && len(r.Robots()) == b.Robots
		})
		return ok
	}); err != nil {
		return err
	}
	funded, err := b.n.contract(ctx, works, proof.Contract{
		Enterprise: "works", Owner: "owner", Robots: ids, Digger: diggerID, Refinery: refineryID,
		Work: b.reportsEach() * b.perReport() * uint64(b.Robots) / b.n.profile.OrePerIngot * b.n.profile.OrePerIngot, Release: proof.Release{Name: policy.Uniform, Parameter: policy.Hour},
		Deadline: b.n.nowMS() + uint64(b.timeline().Milliseconds()) + policy.Day,
	})
	if err != nil {
		return err
	}
	c := funded.Terms
	if err := d.until(ctx, "the contract at the digger", func() (ok bool) {
		b.n.digger.With(func(r *proof.Registry) { _, _, ok = r.Contract(c.ID) })
		return ok
	}); err != nil {
		return err
	}
	return b.sign(ctx, c)
}

// sign makes every robot's reports and writes them to files.
func (b *pipeline) sign(ctx context.Context, c proof.Contract) error {
	start := b.n.nowMS() + 1000
	if err := os.MkdirAll(b.n.path("backlog"), 0o700); err != nil {
		return err
	}
	var work sync.WaitGroup
	errs := make(chan error, len(b.robots))
	var done atomic.Uint64
	total := b.reportsEach() * uint64(b.Robots)
	lanes := make(chan struct{}, runtime.GOMAXPROCS(0))
	for _, r := range b.robots {
		work.Go(func() {
			lanes <- struct{}{}
			defer func() { <-lanes }()
			errs <- b.signRobot(ctx, r, c.ID, start, func() { b.Progress("reports signed", done.Add(1), total) })
		})
	}
	work.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	b.back.Store(0) // the robots have worked; now it is now
	return nil
}

func (b *pipeline) signRobot(ctx context.Context, r *loadedRobot, contract string, start uint64, one func()) error {
	r.file = b.n.path("backlog", r.id)
	file, err := os.Create(r.file)
	if err != nil {
		return err
	}
	defer file.Close()
	w := bufio.NewWriter(file)
	var prev merkle.Hash
	at := start
	readingMS, readings := b.lengths()
	for seq := uint64(1); seq <= b.reportsEach(); seq++ {
		report := proof.Report{Robot: r.id, Contract: contract, Seq: seq, Prev: prev}
		for range readings {
			report.Readings = append(report.Readings, proof.Reading{Start: at, End: at + readingMS, Energy: b.Watts * readingMS, Tokens: b.Tokens * readingMS / 1000})
			at += readingMS
		}
		env, err := r.keys.Sign(proof.TypeReport, report.Encode())
		if err != nil {
			return err
		}
		raw, err := env.EncodeCBOR()
		if err != nil {
			return err
		}
		prev = env.Digest()
		if err := binary.Write(w, binary.BigEndian, uint32(len(raw))); err != nil {
			return err
		}
		if _, err := w.Write(raw); err != nil {
			return err
		}
		one()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	r.reports = b.reportsEach()
	return errors.Join(w.Flush(), file.Sync())
}

// drive sends the backlog as agents that were offline would, and waits for the
// last certificate.
func (b *pipeline) drive(ctx context.Context) error {
	senders, stop := context.WithCancel(ctx)
	defer stop()
	failed := make(chan error, len(b.robots))
	var work sync.WaitGroup
	defer work.Wait()
	for _, r := range b.robots {
		unsubscribe, err := b.subscribe(r)
		if err != nil {
			return err
		}
		defer unsubscribe()
		work.Go(func() {
			if err := b.send(senders, r); err != nil && senders.Err() == nil {
				failed <- err
			}
		})
	}
	defer stop()
	for {
		select {
		case serial := <-b.minted:
			b.Progress("certificates", serial, uint64(b.Certificates))
			if b.SealEach && serial < uint64(b.Certificates) {
				if err := b.sealPacks(); err != nil {
					return err
				}
			}
			if serial >= uint64(b.Certificates) {
				return b.settled(ctx, serial)
			}
		case err := <-failed:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// settled waits until the vault has made the last certificate money.
func (b *pipeline) settled(ctx context.Context, serial uint64) error {
	d := &demo{Node: b.n}
	return d.until(ctx, "the last minting", func() (ok bool) {
		b.n.vault.With(func(book *ledger.Book, _ *proof.Registry) {
			state := book.State()
			ok = state.Certificates >= serial
		})
		return ok
	})
}

func (b *pipeline) subscribe(r *loadedRobot) (func(), error) {
	subject, err := bus.SubjectAck(diggerID, r.id)
	if err != nil {
		return nil, err
	}
	return b.n.bus.Subscribe(subject, 64, func(m bus.Message) {
		ack, err := bus.DecodeAck(m.Body)
		if err != nil || ack.Mark.Seq <= r.marked.Load() {
			return
		}
		r.marked.Store(ack.Mark.Seq)
		select {
		case r.wake <- struct{}{}:
		default:
		}
	})
}

// send publishes a robot's file, never more than its share of inFlight beyond its
// mark.
func (b *pipeline) send(ctx context.Context, r *loadedRobot) error {
	file, err := os.Open(r.file)
	if err != nil {
		return err
	}
	defer file.Close()
	in := bufio.NewReader(file)
	sender := uplink.Bus{Bus: b.n.bus, Digger: diggerID}
	window := uint64(max(inFlight/b.Robots, 1)) // all of them fit the digger's queue: what is dropped is not sent again here
	for seq := uint64(1); ; seq++ {
		var size uint32
		if err := binary.Read(in, binary.BigEndian, &size); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		raw := make([]byte, size)
		if _, err := io.ReadFull(in, raw); err != nil {
			return err
		}
		for seq > r.marked.Load()+window {
			select {
			case <-r.wake:
			case <-ctx.Done():
				return nil
			}
		}
		if err := sender.Send(ctx, r.id, seq, raw); err != nil {
			return err
		}
	}
}

// sizes seals the packs and measures what lies on the disk for a certificate.
func (b *pipeline) sizes(f *PipelineFigures) error {
	if err := b.sealPacks(); err != nil {
		return err
	}
	packs, err := treeSize(b.n.path(packsDir))
	if err != nil {
		return err
	}
	log, err := treeSize(b.n.path(logDir))
	f.BytesCertificate, f.LogBytes = packs/int64(f.Certificates), log/int64(f.Certificates)
	return err
}

func (b *pipeline) sealPacks() error {
	for _, c := range archive.Classes() {
		if err := b.n.packs.Seal(c); err != nil {
			return err
		}
	}
	return nil
}

// BenchLevels lowers the retention level of a benchmark's directory and measures what
// is left of the packs, bytes, at each level.
func BenchLevels(ctx context.Context, dir string) (map[archive.Level]int64, error) {
	_, profile, err := ReadIdentity(dir)
	if err != nil {
		return nil, err
	}
	left := map[archive.Level]int64{}
	for _, level := range []archive.Level{archive.LevelIngots, archive.LevelCertificates} {
		if _, err := archive.Prune(ctx, dir, archive.PruneOptions{Profile: profile, Level: level}); err != nil {
			return nil, err
		}
		if left[level], err = treeSize(filepath.Join(dir, packsDir)); err != nil {
			return nil, err
		}
	}
	return left, nil
}

func treeSize(dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	return sum, err
}

// kiloBlock is the time of 1,024 SHA-256 blocks of a long message: the fastest of
// several.
func kiloBlock() time.Duration {
	message := make([]byte, 1<<20)
	fastest := time.Hour
	for range 24 {
		began := cpuTime()
		for range 4 {
			sum := sha256.Sum256(message)
			message[0] = sum[0]
		}
		fastest = min(fastest, cpuTime()-began)
	}
	return fastest / (4 << 20 / 64 / 1024)
}

// cpuTime is the processor time of this process so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// residentPeak is the process's largest resident memory so far, bytes.
func residentPeak() (int64, error) {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("no VmHWM")
}

// VerifyFigures is what it cost to derive a reserve again from its files.
type VerifyFigures struct {
	Ore, Certificates uint64
	Wall, CPU         time.Duration
	LimitCPU          time.Duration
	Block             time.Duration // per 1,024 blocks
	Resident          int64
}

// Ratio is the limit over what was needed.
func (f VerifyFigures) Ratio() float64 { return f.LimitCPU.Seconds() / f.CPU.Seconds() }

// BenchVerify verifies a data directory with both cores and measures it.
func BenchVerify(ctx context.Context, dir string) (f VerifyFigures, err error) {
	_, profile, err := ReadIdentity(dir)
	if err != nil {
		return f, err
	}
	var clock Clock
	runtime.GC()
	f.Block = kiloBlock()
	before, began := cpuTime(), clock.Now()
	sum, err := archive.VerifyDir(ctx, dir, archive.Options{Profile: profile, Workers: runtime.GOMAXPROCS(0)})
	if err != nil {
		return f, err
	}
	f.Wall, f.CPU = clock.Now().Sub(began), cpuTime()-before
	f.Block = (f.Block + kiloBlock()) / 2
	f.Certificates, f.Ore = sum.Replay.Certificates, sum.Replay.Ingots*profile.OrePerIngot
	f.LimitCPU = time.Duration(float64(f.Block) * 3 * float64(f.Ore) / 1024)
	f.Resident, err = residentPeak()
	return f, err
}
