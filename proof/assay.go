package proof

import (
	"cmp"
	"slices"
	"strings"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// RobotState is where a robot's chain stands.
type RobotState struct {
	Robot   string
	Seq     uint64      // of its last report, void ones included
	Digest  merkle.Hash // of that report
	LastEnd uint64      // end of the last reading of its last report that is not void, Unix ms
}

// Carry is the micro-ore that a robot carries under one contract.
type Carry struct {
	Robot    string
	Contract string
	Micro    uint64 // below 10^6
}

// ContractState is how much ore has been accepted under a contract.
type ContractState struct {
	Contract string
	Accepted uint64
}

// ProducerState is where the chain of a digger, refinery or mint stands.
type ProducerState struct {
	Producer string
	Seq      uint64
	Digest   merkle.Hash
	Sealed   uint64 // sealed_ms, which never falls, Unix ms
}

// AssayState is what an Assay remembers, or the part of it that changed. Its
// lists are sorted.
type AssayState struct {
	Robots    []RobotState
	Carries   []Carry
	Contracts []ContractState
	Diggers   []ProducerState
}

// Assay applies the rules of reports (proof-chain §2 and §4) to the reports of
// robots in the order of their chains. It is used by the digger, which judges one
// report after the other when it seals a batch; by the refinery and by the
// verifier, which repeat whole batches and trust no digger.
//
// Judging is pure; only Accept, Seal and CheckBatch change the state. A
// station persists what Changed returns in the transaction that holds the batch,
// and begins again from Restore. An Assay is not safe for concurrent use, except
// that Authenticate may run beside itself and beside Judge.
type Assay struct {
	registry *Registry
	digger   string // whose reports it judges; "": of every digger
	state    assayState
	changed  assayState // keys only
}

// draft returns an assay over the state of a, which it reads and leaves alone.
func (a *Assay) draft() *Assay {
	d := NewAssay(a.registry, a.digger)
	d.state.under = &a.state
	return d
}

type robotContract struct{ robot, contract string }

type assayState struct {
	robots    map[string]RobotState
	carries   map[robotContract]uint64
	contracts map[string]uint64
	diggers   map[string]ProducerState
	under     *assayState // what a draft is written over
}

func newAssayState() assayState {
	return assayState{
		robots: map[string]RobotState{}, carries: map[robotContract]uint64{},
		contracts: map[string]uint64{}, diggers: map[string]ProducerState{},
	}
}

func (s *assayState) robot(id string) (RobotState, bool) {
	x, ok := s.robots[id]
	if !ok && s.under != nil {
		return s.under.robot(id)
	}
	return x, ok
}

func (s *assayState) carry(robot, contract string) uint64 {
	x, ok := s.carries[robotContract{robot, contract}]
	if !ok && s.under != nil {
		return s.under.carry(robot, contract)
	}
	return x
}

func (s *assayState) accepted(contract string) uint64 {
	x, ok := s.contracts[contract]
	if !ok && s.under != nil {
		return s.under.accepted(contract)
	}
	return x
}

// mark adds the keys of other.
func (s *assayState) mark(other assayState) {
	for k := range other.robots {
		s.robots[k] = RobotState{}
	}
	for k := range other.carries {
		s.carries[k] = 0
	}
	for k := range other.contracts {
		s.contracts[k] = 0
	}
	for k := range other.diggers {
		s.diggers[k] = ProducerState{}
	}
}

// NewAssay returns an assay without any state. digger is the id of the digger
// that judges with it: it sees only its own robots, and picks up the chain of a
// robot that changed to it where the enrolment says. digger "" is for refineries
// and verifiers, which see the batches of every digger from the first on.
func NewAssay(registry *Registry, digger string) *Assay {
	return &Assay{registry: registry, digger: digger, state: newAssayState(), changed: newAssayState()}
}

// Registry returns what the assay judges by.
func (a *Assay) Registry() *Registry { return a.registry }

// Restore puts back state; what is restored does not count as changed.
func (a *Assay) Restore(s AssayState) {
	for _, x := range s.Robots {
		a.state.robots[x.Robot] = x
	}
	for _, x := range s.Carries {
		a.state.carries[robotContract{x.Robot, x.Contract}] = x.Micro
	}
	for _, x := range s.Contracts {
		a.state.contracts[x.Contract] = x.Accepted
	}
	for _, x := range s.Diggers {
		a.state.diggers[x.Producer] = x
	}
}

// State returns everything that the assay remembers.
func (a *Assay) State() AssayState { return a.state.list(a.state) }

// Changed returns what changed since the last call and forgets that it changed.
func (a *Assay) Changed() AssayState {
	s := a.state.list(a.changed)
	a.changed = newAssayState()
	return s
}

// list returns the values of s at the keys of which.
func (s assayState) list(which assayState) AssayState {
	var out AssayState
	for k := range which.robots {
		out.Robots = append(out.Robots, s.robots[k])
	}
	for k := range which.carries {
		out.Carries = append(out.Carries, Carry{Robot: k.robot, Contract: k.contract, Micro: s.carries[k]})
	}
	for k := range which.contracts {
		out.Contracts = append(out.Contracts, ContractState{Contract: k, Accepted: s.contracts[k]})
	}
	for k := range which.diggers {
		out.Diggers = append(out.Diggers, s.diggers[k])
	}
	slices.SortFunc(out.Robots, func(x, y RobotState) int { return strings.Compare(x.Robot, y.Robot) })
	slices.SortFunc(out.Carries, func(x, y Carry) int {
		return cmp.Or(strings.Compare(x.Robot, y.Robot), strings.Compare(x.Contract, y.Contract))
	})
	slices.SortFunc(out.Contracts, func(x, y ContractState) int { return strings.Compare(x.Contract, y.Contract) })
	slices.SortFunc(out.Diggers, func(x, y ProducerState) int { return strings.Compare(x.Producer, y.Producer) })
	return out
}

// Signed is an authenticated report: well formed and signed by the robot that it
// names. Whether it is sound, Judge says.
type Signed struct {
	Report   Report
	Digest   merkle.Hash
	Envelope seal.Envelope
	micro    torq.Uint128
}

// Authenticate checks all that a report's envelope shows without the robot's
// chain: form and bounds, an enrolment with this digger, and every signature by
// the keys of the enrolment that judges it. When the keys are valid is a rule
// (key_validity), not a matter of authenticity.
func (a *Assay) Authenticate(env seal.Envelope) (Signed, *Refusal) {
	return authenticate(a.registry.now(), env, a.digger)
}

// Reopen reads an envelope that this station has authenticated before, without
// verifying signatures again.
func Reopen(env seal.Envelope) (Signed, *Refusal) {
	if env.PayloadType != TypeReport {
		return Signed{}, refuse(Malformed, "payload type %q is not that of a report", clip(env.PayloadType))
	}
	report, err := DecodeReport(env.Payload)
	if err != nil {
		return Signed{}, refuse(Malformed, "%v", err)
	}
	s := Signed{Report: report, Digest: env.Digest(), Envelope: env, micro: report.Micro()}
	if _, _, err := torq.SplitOre(s.micro); err != nil {
		return Signed{}, refuse(Malformed, "%v", err)
	}
	return s, nil
}

func authenticate(v view, env seal.Envelope, digger string) (Signed, *Refusal) {
	s, refusal := Reopen(env)
	if refusal != nil {
		return Signed{}, refusal
	}
	if refusal := enrolledWith(v, s, digger); refusal != nil {
		return Signed{}, refusal
	}
	e, _ := v.robot(s.Report.Robot, s.Report.Start())
	err := seal.VerifyEnvelope(env, e.Keys, v.required(seal.RoleRobot, s.Report.End()), s.Report.End())
	if err != nil && !seal.HasCode(err, seal.CodeKeyValidity) {
		return Signed{}, refuse(BadSignature, "%v", err)
	}
	return s, nil
}

// enrolledWith checks that the robot is known and enrolled with the digger. A
// report of a reserve's other log carries that log's contract, which is a rule
// (not_assigned), not a refusal.
func enrolledWith(v view, s Signed, digger string) *Refusal {
	e, ok := v.robot(s.Report.Robot, s.Report.Start())
	if !ok {
		return refuse(UnknownRobot, "robot %q is not enrolled", s.Report.Robot)
	}
	if digger != "" && e.Robot.Digger != digger {
		return refuse(WrongDigger, "robot %q is enrolled with digger %q, not %q", s.Report.Robot, e.Robot.Digger, digger)
	}
	return nil
}

// Head returns the place in the robot's chain after which its next report must
// come: of the last report that was accepted, void ones included.
func (a *Assay) Head(robot string) Link { return a.head(a.registry.now(), robot) }

func (a *Assay) head(v view, robot string) Link {
	if s, ok := a.state.robot(robot); ok {
		return Link{Seq: s.Seq, Digest: s.Digest}
	}
	if a.digger != "" {
		return v.chainStart(robot)
	}
	return Link{}
}

// Follows checks that a report comes right after the given place in its robot's
// chain. A digger with reports that wait for their batch passes the last of
// those, else Head.
func (a *Assay) Follows(s Signed, head Link) *Refusal {
	return follows(a.registry.now(), s, head)
}

func follows(v view, s Signed, head Link) *Refusal {
	r := s.Report
	switch {
	case r.Seq > head.Seq+1:
		return badLink(LinkGap, "seq %d after %d: %d reports are missing", r.Seq, head.Seq, r.Seq-head.Seq-1)
	case r.Seq == head.Seq && s.Digest != head.Digest:
		return badLink(LinkFork, "another report of seq %d, digest %s, is in the chain", r.Seq, head.Digest)
	case r.Seq <= head.Seq:
		return badLink(LinkReplay, "seq %d, the chain is at %d", r.Seq, head.Seq)
	case r.Prev != head.Digest:
		return badLink(LinkFork, "seq %d follows %s, the chain has %s there", r.Seq, r.Prev, head.Digest)
	}
	return withinVersion(v, s)
}

// withinVersion checks a report against the points at which new versions of the
// robot's enrolment cut its chain: up to last.seq it is the older version's, after
// it the newer one's.
func withinVersion(v view, s Signed) *Refusal {
	r := s.Report
	e, ok := v.robot(r.Robot, r.Start())
	if !ok {
		return refuse(UnknownRobot, "robot %q is not enrolled", r.Robot)
	}
	if last := e.Robot.Last; last != nil {
		if r.Seq <= last.Seq {
			return badLink(LinkReplay, "version %d of the enrolment begins after seq %d", e.Version, last.Seq)
		}
		if r.Seq == last.Seq+1 && r.Prev != last.Digest {
			return badLink(LinkFork, "version %d of the enrolment begins after %s", e.Version, last.Digest)
		}
	}
	if last, ok := v.successor(r.Robot, e.Version); ok && r.Seq > last.Seq {
		return badLink(LinkFork, "a later enrolment ended version %d with seq %d", e.Version, last.Seq)
	}
	return nil
}

// Judge says what an authenticated report counts when the digger seals it at
// sealedMS. It refuses a report that, by what is known now, is not the next of
// its robot's chain, or that new keys no longer authenticate. It changes nothing.
func (a *Assay) Judge(s Signed, sealedMS uint64) (Entry, *Refusal) {
	v := a.registry.now()
	if refusal := enrolledWith(v, s, a.digger); refusal != nil {
		return Entry{}, refusal
	}
	e, _ := v.robot(s.Report.Robot, s.Report.Start())
	for _, sig := range s.Envelope.Signatures {
		if !slices.ContainsFunc(e.Keys, func(k seal.Key) bool { return k.KeyID == sig.KeyID }) {
			return Entry{}, refuse(BadSignature, "key %s is not of version %d of the enrolment", sig.KeyID, e.Version)
		}
	}
	return a.judge(v, s, a.digger, sealedMS)
}

// Accept enters a judged report into the state: the robot's chain, what it
// carries, and what the contract has accepted.
func (a *Assay) Accept(s Signed, e Entry) {
	r := s.Report
	robot, _ := a.state.robot(r.Robot)
	robot.Robot, robot.Seq, robot.Digest = r.Robot, r.Seq, s.Digest
	if !e.Rule.Void() {
		robot.LastEnd = r.End()
		key := robotContract{r.Robot, r.Contract}
		a.state.carries[key] = e.Carry
		a.changed.carries[key] = 0
		a.state.contracts[r.Contract] = a.state.accepted(r.Contract) + e.Ore
		a.changed.contracts[r.Contract] = 0
	}
	a.state.robots[r.Robot] = robot
	a.changed.robots[r.Robot] = RobotState{}
}

// Accepted returns the ore that was accepted under a contract.
func (a *Assay) Accepted(contract string) uint64 { return a.state.accepted(contract) }

// Digger returns where a digger's chain of batches stands.
func (a *Assay) Digger(id string) ProducerState {
	s := a.state.diggers[id]
	s.Producer = id
	return s
}

// Rejected is a report that Seal refused.
type Rejected struct {
	Signed
	Refusal *Refusal
}

// Seal judges waiting reports in their order and makes the digger's next batch of
// those that fit into one message, entering them into the state. taken says how
// many of the reports it dealt with; rejected are those among them that are no
// longer authentic or linked. ok is false when no report is left to seal. The
// batch's sealed_ms is nowMS or, if that is later, the one before it: it never
// falls.
//
// The caller signs the payload, and persists envelope and Changed together.
func (a *Assay) Seal(reports []Signed, nowMS uint64) (batch Batch, included []Signed, rejected []Rejected, taken int, ok bool) {
	mark := a.Digger(a.digger)
	batch = Batch{
		Origin: a.registry.Origin(), Digger: a.digger, Seq: mark.Seq + 1, Prev: mark.Digest,
		Sealed: max(nowMS, mark.Sealed),
	}
	size := batchOverhead
	for _, s := range reports {
		size += envelopeSize(s.Envelope) + entryOverhead
		if size > MaxMessage && len(batch.Entries) > 0 {
			break
		}
		taken++
		entry, refusal := a.Judge(s, batch.Sealed)
		if refusal != nil {
			rejected = append(rejected, Rejected{Signed: s, Refusal: refusal})
			continue
		}
		a.Accept(s, entry)
		batch.Entries = append(batch.Entries, entry)
		included = append(included, s)
	}
	if len(batch.Entries) == 0 {
		return Batch{}, nil, rejected, taken, false
	}
	a.advance(batch, seal.Digest(TypeBatch, batch.Encode()))
	return batch, included, rejected, taken, true
}

func (a *Assay) advance(b Batch, digest merkle.Hash) {
	a.state.diggers[b.Digger] = ProducerState{Producer: b.Digger, Seq: b.Seq, Digest: digest, Sealed: b.Sealed}
	a.changed.diggers[b.Digger] = ProducerState{}
}

// Sizes on the wire, generous: a batch's envelope with its signatures, and an
// entry.
const (
	batchOverhead = 4 << 10
	entryOverhead = 80
)

func envelopeSize(env seal.Envelope) int {
	n := 64 + len(env.PayloadType) + len(env.Payload)
	for _, s := range env.Signatures {
		n += 32 + len(s.Sig)
	}
	return n
}
