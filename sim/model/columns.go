package model

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"math"
	"slices"
)

// visitor passes over every column of the state in a fixed order: to hash it, to write
// it, or to read it.
type visitor struct {
	hash hash.Hash
	out  *bytes.Buffer
	in   []byte
	read bool
	err  error
	buf  []byte
}

func (v *visitor) bytes(b []byte) {
	if v.hash != nil {
		v.hash.Write(b)
	}
	if v.out != nil {
		v.out.Write(b)
	}
}

func (v *visitor) take(n int) []byte {
	if v.err != nil || n < 0 || n > len(v.in) {
		if v.err == nil {
			v.err = fmt.Errorf("the state is cut off")
		}
		return make([]byte, 8)
	}
	b := v.in[:n]
	v.in = v.in[n:]
	return b
}

// integer is any column's element that is a whole number.
type integer interface {
	~uint8 | ~int32 | ~uint32 | ~int64 | ~uint64
}

func width[T integer]() int {
	var zero T
	return binary.Size(zero)
}

// one visits a single number.
func one[T integer](v *visitor, at *T) {
	if v.read {
		*at = T(binary.LittleEndian.Uint64(v.take(8)))
		return
	}
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(*at))
	v.bytes(b[:])
}

// length visits the length of a column.
func (v *visitor) length(n, width int) int {
	count := uint64(n)
	one(v, &count)
	if v.read && count > uint64(len(v.in)/width) {
		v.err = fmt.Errorf("a column of %d elements is longer than the state", count)
		return 0
	}
	return int(count)
}

// column visits a column of whole numbers, little-endian in its own width.
func column[T integer](v *visitor, at *[]T) {
	size := width[T]()
	n := v.length(len(*at), size)
	if v.read {
		b := v.take(n * size)
		list := make([]T, n)
		for i := range list {
			list[i] = T(get(b[i*size:], size))
		}
		*at = list
		return
	}
	v.buf = slices.Grow(v.buf[:0], n*size)[:n*size]
	for i, x := range *at {
		put(v.buf[i*size:], size, uint64(x))
	}
	v.bytes(v.buf)
}

func get(b []byte, size int) uint64 {
	switch size {
	case 1:
		return uint64(b[0])
	case 4:
		return uint64(binary.LittleEndian.Uint32(b))
	}
	return binary.LittleEndian.Uint64(b)
}

func put(b []byte, size int, x uint64) {
	switch size {
	case 1:
		b[0] = uint8(x)
	case 4:
		binary.LittleEndian.PutUint32(b, uint32(x))
	default:
		binary.LittleEndian.PutUint64(b, x)
	}
}

// truths visits a column of booleans, a byte each.
func truths(v *visitor, at *[]bool) {
	list := make([]uint8, len(*at))
	for i, b := range *at {
		if b {
			list[i] = 1
		}
	}
	column(v, &list)
	if v.read {
		*at = make([]bool, len(list))
		for i := range list {
			(*at)[i] = list[i] != 0
		}
	}
}

func truth(v *visitor, at *bool) {
	list := []bool{*at}
	truths(v, &list)
	if v.read && len(list) == 1 {
		*at = list[0]
	}
}

// floats visits a column of floats by their bits.
func floats(v *visitor, at *[]float64) {
	list := make([]uint64, len(*at))
	for i, f := range *at {
		list[i] = math.Float64bits(f)
	}
	column(v, &list)
	if v.read {
		*at = make([]float64, len(list))
		for i := range list {
			(*at)[i] = math.Float64frombits(list[i])
		}
	}
}

// records visits a list of small records by a function that visits one.
func records[T any](v *visitor, at *[]T, visit func(*T)) {
	n := v.length(len(*at), 1)
	if v.read {
		*at = make([]T, n)
	}
	for i := range *at {
		visit(&(*at)[i])
	}
}

func (f *flows) visit(v *visitor) {
	column(v, &f.id)
	column(v, &f.kind)
	column(v, &f.attempt)
	column(v, &f.flags)
	column(v, &f.reason)
	column(v, &f.failed)
	column(v, &f.src)
	column(v, &f.dst)
	column(v, &f.retryNode)
	column(v, &f.amount)
	column(v, &f.data)
}

// visit passes over the whole state. Everything that decides the future is here;
// the parameters are written apart.
func (w *World) visit(v *visitor) {
	w.settle() // wallets as they are, whatever has been added to them yet
	one(v, &w.Tick)
	one(v, &w.Step)
	one(v, &w.nextID)
	w.fl.visit(v)
	records(v, &w.inbox, func(m *message) {
		one(v, &m.Node)
		one(v, &m.Due)
		truth(v, &m.Retry)
		truth(v, &m.Backing)
		one(v, &m.Reason)
		one(v, &m.Failed)
		one(v, &m.Src)
		one(v, &m.Dst)
		one(v, &m.Data)
		one(v, &m.Attempt)
	})
	column(v, &w.queue)
	for _, x := range []*int64{&w.g.Capacity, &w.g.Rate, &w.g.Allocated, &w.g.Planned, &w.g.DrawSum, &w.g.Streams, &w.g.Issued, &w.g.Consumed,
		&w.g.Returned, &w.g.StaleLoss, &w.g.EnergyWh, &w.g.Shortage, &w.issuance, &w.stakeVault, &w.stashVaults, &w.distoBuffer, &w.roboFund,
		&w.calvinFunnel, &w.calvinParked, &w.accruing, &w.unreleased} {
		one(v, x)
	}
	w.visitRobots(v)
	w.visitMoney(v)
	for i := range w.count {
		one(v, &w.count[i])
		one(v, &w.meters[i])
	}
	s := &w.stats
	for _, x := range []*uint64{&s.Executed, &s.Spawned, &s.Failures, &s.Retries, &s.PermanentFailures, &s.Oracles, &s.Trained, &s.TrainingTicks,
		&s.Defaults, &s.Bids, &s.Accepted, &s.Upgrades, &s.RobotsBought, &s.Gridlocks} {
		one(v, x)
	}
	one(v, &s.TorqPico)
	w.plan.visit(v)
	records(v, &w.changes, func(c *CapacityChange) { one(v, &c.Tick); one(v, &c.Capacity) })
}

func (w *World) visitRobots(v *visitor) {
	truths(v, &w.ready)
	truths(v, &w.trained)
	column(v, &w.state)
	column(v, &w.class)
	column(v, &w.stock)
	column(v, &w.minimum)
	column(v, &w.owed)
	column(v, &w.experience)
	column(v, &w.mined)
	floats(v, &w.gain)
	truths(v, &w.heavy)
	if w.P.FloatCountdown {
		floats(v, &w.left)
	}
	column(v, &w.watts)
	column(v, &w.repair)
	column(v, &w.before)
	truths(v, &w.active)
	column(v, &w.run)
	column(v, &w.progress)
	column(v, &w.minted)
	column(v, &w.sent)
	column(v, &w.size)
	truths(v, &w.complex)
	truths(v, &w.contracted)
}

func (w *World) visitMoney(v *visitor) {
	truths(v, &w.brlaSeeded)
	truths(v, &w.entSeeded)
	column(v, &w.committed)
	column(v, &w.wanted)
	column(v, &w.enterprise)
	column(v, &w.brla)
	column(v, &w.wallet)
	column(v, &w.stash)
	column(v, &w.torqed)
	column(v, &w.spend)
	column(v, &w.least)
	records(v, &w.accruals, func(a *accrual) { one(v, &a.From); one(v, &a.Amount); one(v, &a.Released) })
	for i := range w.flowTotals {
		one(v, &w.flowTotals[i])
	}
}

func (e *expansion) visit(v *visitor) {
	truth(v, &e.Asking)
	for _, x := range []*uint32{&e.Wait, &e.Since, &e.YearStart, &e.LastBuy} {
		one(v, x)
	}
	for _, x := range []*int64{&e.Rounds, &e.IsaacLeft, &e.DanLeft, &e.LastMint} {
		one(v, x)
	}
	records(v, &e.Building, func(b *build) { one(v, &b.Ready); one(v, &b.Capacity) })
	for i := range e.LastMeter {
		one(v, &e.LastMeter[i])
	}
	column(v, &e.Supply)
}

// Hash is the SHA-256 of all columns, little-endian in a fixed order. It does not depend
// on the engine, the number of goroutines, the log, collectors or checkpoints.
func (w *World) Hash() (sum [sha256.Size]byte) {
	v := &visitor{hash: sha256.New()}
	w.visit(v)
	return [sha256.Size]byte(v.hash.Sum(nil))
}

// magic begins a checkpoint; its last digit is the version of the format.
const magic = "robotorq sim checkpoint 2\n"

// A CheckpointError says why a file is no checkpoint of this program.
type CheckpointError struct{ Detail string }

func (e *CheckpointError) Error() string { return "checkpoint: " + e.Detail }

// ErrorCode is the stable code.
func (e *CheckpointError) ErrorCode() string { return "sim_checkpoint" }

// Save writes the state between two ticks: a version, the parameters, the columns and
// their SHA-256. A world that is loaded from it goes on to the bit.
func (w *World) Save(to io.Writer) error {
	params, err := json.Marshal([2]Params{w.P, w.given})
	if err != nil {
		return err
	}
	var b bytes.Buffer
	b.WriteString(magic)
	binary.Write(&b, binary.LittleEndian, uint64(len(params)))
	b.Write(params)
	w.visit(&visitor{out: &b})
	sum := sha256.Sum256(b.Bytes())
	b.Write(sum[:])
	_, err = to.Write(b.Bytes())
	return err
}

// Load reads a checkpoint. Another version, a cut or a changed byte is an error.
func Load(data []byte) (*World, error) {
	if len(data) < len(magic) || string(data[:len(magic)]) != magic {
		if bytes.HasPrefix(data, []byte(magic[:len(magic)-2])) {
			return nil, &CheckpointError{"it was written by another version of the format; run the scenario again"}
		}
		return nil, &CheckpointError{"this is no checkpoint of the simulator"}
	}
	if len(data) < len(magic)+8+sha256.Size {
		return nil, &CheckpointError{"it is cut off"}
	}
	body, sum := data[:len(data)-sha256.Size], data[len(data)-sha256.Size:]
	if sha256.Sum256(body) != [sha256.Size]byte(sum) {
		return nil, &CheckpointError{"it was changed or cut off: its checksum does not hold"}
	}
	rest := body[len(magic):]
	n := binary.LittleEndian.Uint64(rest)
	if rest = rest[8:]; n > uint64(len(rest)) {
		return nil, &CheckpointError{"its parameters are cut off"}
	}
	w := &World{}
	var params [2]Params
	if err := json.Unmarshal(rest[:n], &params); err != nil {
		return nil, &CheckpointError{"its parameters: " + err.Error()}
	}
	w.P, w.given = params[0], params[1]
	v := &visitor{in: rest[n:], read: true}
	w.visit(v)
	if v.err == nil && len(v.in) > 0 {
		v.err = fmt.Errorf("%d bytes too many", len(v.in))
	}
	if v.err != nil {
		return nil, &CheckpointError{v.err.Error()}
	}
	faults, err := parseFaults(w.P.Inject)
	if err != nil {
		return nil, &CheckpointError{err.Error()}
	}
	w.faults = faults
	w.derive()
	return w, w.sound()
}

// sound checks that the columns of a loaded state fit each other.
func (w *World) sound() error {
	robots, oracles := len(w.ready), len(w.active)
	for _, n := range []int{len(w.trained), len(w.state), len(w.class), len(w.stock), len(w.minimum), len(w.owed), len(w.mined), len(w.gain), len(w.heavy), len(w.watts), len(w.repair), len(w.before), len(w.experience) / max(1, int(w.P.TaskTypes))} {
		if n != robots {
			return &CheckpointError{"the robots' columns differ in length"}
		}
	}
	if robots == 0 || oracles == 0 || len(w.enterprise) == 0 || w.P.RobotsPerOracle < 1 || robots != oracles*int(w.P.RobotsPerOracle) || oracles%len(w.enterprise) != 0 {
		return &CheckpointError{"robots, oracles and Enterprises do not fit each other"}
	}
	if w.P.FloatCountdown && len(w.left) != robots {
		return &CheckpointError{"the robots' columns differ in length"}
	}
	n := w.fl.len()
	for _, m := range []int{len(w.fl.kind), len(w.fl.attempt), len(w.fl.flags), len(w.fl.reason), len(w.fl.failed), len(w.fl.src), len(w.fl.dst), len(w.fl.retryNode), len(w.fl.amount), len(w.fl.data)} {
		if m != n {
			return &CheckpointError{"the flows' columns differ in length"}
		}
	}
	return nil
}
