package model

// Replay rebuilds robots, oracles and accounts from the event log alone; what it shows at
// a tick is what the run's own columns were. It needs a log of [LogAll].
type Replay struct{ w *World }

// NewReplay begins at tick 0 of a run with these parameters, as they were given.
func NewReplay(p Params) (*Replay, error) {
	w, err := New(p)
	if err != nil {
		return nil, err
	}
	return &Replay{w}, nil
}

// Apply takes the next event of the log.
func (r *Replay) Apply(e *Event) {
	w := r.w
	w.Tick, w.Step = e.Tick, e.Step
	switch e.Code {
	case EvPosted:
		r.posting(e)
	case EvSpawned:
		r.spawned(e)
	case EvSpawnError:
		r.updated(e)
	case EvQueued:
		w.state[e.Src.Index()] = Queued
	case EvServed:
		w.state[e.Dst.Index()] = Training
	case EvBegun:
		i := e.Dst.Index()
		w.minimum[i], w.owed[i], w.trained[i] = e.A, e.A, false
		if w.P.FloatCountdown {
			w.left[i] = remaining(e.A, e.A)
		}
	case EvDelivered:
		i := e.Dst.Index()
		w.stock[i] += e.A
		w.countDown(i, e.A)
		if w.P.LateSignal {
			r.complete(i)
		}
	case EvEnded:
		r.ended(e)
	case EvEndError:
		r.complete(e.Dst.Index())
	case EvFountain:
		w.trained[e.Src.Index()], w.state[e.Src.Index()] = !w.P.NeverTrained, Producing
	case EvMined:
		w.progress[e.Dst.Index()] = e.B
		w.state[e.Src.Index()] = Producing
		if e.Reason == CapacityExhausted {
			w.state[e.Src.Index()] = Starved
		}
	case EvDrawn:
		w.stock[e.Src.Index()] = e.A
	case EvFinished:
		r.finished(e.Dst.Index())
	case EvFlagged:
		r.flagged(e)
	case EvRecycled:
		i := e.Src.Index()
		w.trained[i] = !w.P.NeverTrained
		r.idle(i)
		w.unlockOracle(e.Dst.Index())
	case EvDown:
		w.before[e.Src.Index()] = w.state[e.Src.Index()]
		w.state[e.Src.Index()] = Down
	case EvUp:
		w.state[e.Src.Index()] = w.before[e.Src.Index()]
	case EvRefused:
		if e.Kind == TokenTorqDrain {
			i := Ref(e.A).Index()
			if e.Dst.Role() == Robot { // the seed's own addresses
				i = e.Dst.Index()
			}
			if w.state[i] == Training || !w.P.TokenGate {
				w.trained[i], w.state[i] = true, Authorised
			}
		}
	case EvRetry:
		if e.Kind == TokenTorqDrain {
			w.state[e.Dst.Index()] = Queued
		}
	case EvPermanent:
		r.givenUp(e)
	case EvRobots:
		w.oracles(int(e.A))
		w.robots(int(e.A * w.P.RobotsPerOracle))
	}
}

// ended is the end signal of a drain, which an error may have sent.
func (r *Replay) ended(e *Event) {
	i := e.Dst.Index()
	if e.Reason == TrainingComplete && (r.w.state[i] == Training || !r.w.P.TokenGate) {
		r.w.state[i] = WaitingStep
	}
}

// complete is a drain's last delivery that no signal tells of.
func (r *Replay) complete(i int) {
	if w := r.w; !w.owes(i) && (w.state[i] == Training || !w.P.TokenGate) {
		w.state[i] = WaitingStep
	}
}

// idle frees a robot.
func (r *Replay) idle(i int) {
	w := r.w
	w.unlockRobot(i)
	w.state[i] = Idle
	if !w.P.KeepLeftover {
		w.stock[i] = 0
	}
}

// updated is what a flow set whose successor could not be spawned, if nothing undoes it.
func (r *Replay) updated(e *Event) {
	if !r.w.P.BothPaths {
		return
	}
	switch e.Kind {
	case ProductionStartFlag:
		r.begin(e.Dst.Index(), e.B)
	case TokenTorqAuth:
		r.w.ready[e.Dst.Index()], r.w.state[e.Dst.Index()] = true, Authorised
	}
}

// begin is the start of an oracle's run: of the one that the event numbers, or the next.
func (r *Replay) begin(o int, run int64) {
	w := r.w
	if w.active[o] {
		return
	}
	w.active[o], w.progress[o] = true, Pico
	if w.run[o]++; run > 0 {
		w.run[o] = int32(run)
	}
}

func (r *Replay) spawned(e *Event) {
	w := r.w
	if e.Reason != NoReason && e.Other != TokenTorqDrain {
		return // the flow was refused and updated nothing
	}
	switch e.Other {
	case TokenTorqAuth:
		r.begin(Ref(e.A).Index(), e.B)
	case DrainRequest:
		w.ready[Ref(e.A).Index()], w.state[Ref(e.A).Index()] = true, Authorised
	case TokenTorqDrain:
		w.state[e.Dst.Index()] = Training
	}
}

func (r *Replay) finished(o int) {
	w := r.w
	w.unlockOracle(o)
	w.stats.Oracles++
	per, tasks := int(w.P.RobotsPerOracle), int(w.P.TaskTypes)
	for n := range w.team() {
		w.experience[(o*per+n)*tasks+o%tasks]++
	}
}

func (r *Replay) flagged(e *Event) {
	w := r.w
	switch e.Kind {
	case TorqFountain:
		if e.B == robotStays {
			return
		}
		w.trained[e.Src.Index()] = true
		r.idle(e.Src.Index())
	case SellsToBondholder:
		w.wallet[e.Src.Index()] -= e.A
		w.enterprise[e.Dst.Index()] += e.A
	case StashVaultPledge:
		w.wallet[e.Src.Index()] -= e.A
		w.roboFund += e.A
	case UpgradePledge:
		w.wallet[e.Src.Index()] -= e.A
		w.calvinFunnel += e.A
	}
}

func (r *Replay) givenUp(e *Event) {
	w := r.w
	switch e.Kind {
	case DrainRequest:
		r.standDown(e.Src.Index())
	case TokenTorqDrain:
		r.standDown(e.Dst.Index())
	case TokenTorqAuth:
		w.unlockOracle(e.Src.Index())
	}
}

func (r *Replay) standDown(i int) {
	w := r.w
	w.unlockRobot(i)
	if w.state[i] == Authorised {
		w.state[i] = Idle
	}
	w.unlockOracle(w.oracleOf(i))
}

// posting repeats one posting.
func (r *Replay) posting(e *Event) {
	w := r.w
	switch Txn(e.Other) {
	case TxnSeed:
		w.issuance -= e.A
		w.enterprise[e.Dst.Index()] += e.A
	case TxnRetainer:
		if e.Src.Role() == Enterprise {
			w.enterprise[e.Src.Index()] -= e.A
		} else {
			w.issuance -= e.A
		}
		w.brla[e.Dst.Index()] += e.A
	case TxnMint:
		w.issuance -= e.A
		w.distoBuffer += e.A
	case TxnDisto:
		for i := range w.wallet {
			w.wallet[i] += e.A
		}
		w.distoBuffer -= e.A * e.B
	case TxnPayment:
		w.enterprise[e.Dst.Index()] -= e.A
		w.stakeVault += e.A
	case TxnDemurrage:
		w.wallet[e.Src.Index()] -= e.A
		w.stashVaults += e.A
	case TxnRedistribute:
		w.wallet[e.Src.Index()] += e.A
		w.stashVaults -= e.A
	case TxnSave:
		w.wallet[e.Src.Index()] -= e.A
		w.stash[e.Src.Index()] += e.A
	case TxnProject:
		w.roboFund -= e.A
		w.enterprise[e.Dst.Index()] += e.A
	case TxnPark:
		w.distoBuffer -= e.A
		w.calvinParked += e.A
	case TxnUpgrade:
		switch e.Src {
		case ref(Isaac, 0):
			w.stakeVault -= e.A
		case ref(Daneel, 0):
			w.stashVaults -= e.A
		case ref(Calvin, 0):
			w.calvinParked -= e.A
		default:
			w.calvinFunnel -= e.A
		}
		w.enterprise[e.Dst.Index()] += e.A
	}
}

// Accounts are the balances at the last event.
func (r *Replay) Accounts() Balances { return r.w.Accounts() }

// Robots is the number of robots at the last event.
func (r *Replay) Robots() int { return len(r.w.ready) }

// Robot is a robot's state at the last event.
func (r *Replay) Robot(i int) RobotState { return r.w.RobotState(i) }

// OracleState is what a replay shows of an oracle.
type OracleState struct {
	Active   bool    `json:"is_active"`
	Run      int32   `json:"run"`
	Progress float64 `json:"progress"` // of the contract, 0 to 1
}

// Oracle is an oracle's state at the last event.
func (r *Replay) Oracle(o int) OracleState { return r.w.OracleState(o) }

// OracleState is the state of one oracle.
func (w *World) OracleState(o int) OracleState {
	return OracleState{w.active[o], w.run[o], 1 - float64(w.progress[o])/Pico}
}

// Has reports whether there is such an actor.
func (w *World) Has(who Ref) bool {
	n := 1
	switch who.Role() {
	case Robot:
		n = len(w.ready)
	case Oracle:
		n = len(w.active)
	case Enterprise, BRLA:
		n = len(w.enterprise)
	case Bondholder:
		n = len(w.wallet)
	}
	return who.Index() < n
}

// Has reports whether there is such an actor at the last event.
func (r *Replay) Has(who Ref) bool { return r.w.Has(who) }
