package model

import "slices"

// Observation is what collectors see of a step; money in JT, tokens in micro-tokens.
type Observation struct {
	Tick, Step                                        uint32
	Supply, Enterprise, BRLA, StakeVault, StashVaults int64
	DistoBuffer, RoboFund, Calvin, Wallets, Stashes   int64
	Totals                                            [txns]int64
	Rate, Capacity, Allocated, Issued, Consumed       int64
	Returned, StaleLoss                               int64
	EnergyWh                                          int64
	Queue, Drains, Fountains, Flows                   int64
	Robots, Bondholders                               int64
	Meters                                            [States]int64
	Stats                                             Stats
	TokenEnergyMicroWh                                int64 // of Giskard, for the tokens issued
}

// Observe gathers the observation of the present state. It changes nothing.
func (w *World) Observe() Observation {
	o := Observation{
		Tick: w.Tick, Step: w.Step, Supply: w.Supply(), StakeVault: w.stakeVault, StashVaults: w.stashVaults, DistoBuffer: w.distoBuffer,
		RoboFund: w.roboFund, Calvin: w.calvinFunnel + w.calvinParked, Totals: w.flowTotals, Rate: w.g.Rate, Capacity: w.g.Capacity,
		Allocated: w.g.Allocated, Issued: w.g.Issued, Consumed: w.g.Consumed, Returned: w.g.Returned, StaleLoss: w.g.StaleLoss,
		EnergyWh: w.g.EnergyWh, Queue: int64(len(w.queue)), Robots: int64(len(w.ready)), Bondholders: int64(len(w.wallet)),
		Meters: w.meters, Stats: w.stats, Flows: int64(w.fl.len()),
	}
	o.TokenEnergyMicroWh = mulDivMost(w.g.Issued, w.P.TokenWatts, Micro)
	for e := range w.enterprise {
		o.Enterprise += w.enterprise[e]
		o.BRLA += w.brla[e]
	}
	for i, v := range w.wallet {
		o.Wallets += v + w.share
		o.Stashes += w.stash[i]
	}
	o.Drains = w.count[Training]
	o.Fountains = w.count[Producing] + w.count[Starved]
	return o
}

// AppendWallets appends what each bondholder has, JT.
func (w *World) AppendWallets(to []int64) []int64 {
	to = slices.Grow(to, len(w.wallet))
	for i, v := range w.wallet {
		to = append(to, v+w.share+w.stash[i])
	}
	return to
}

// RobotState is what is kept of a robot in agents.parquet and in a replay.
type RobotState struct {
	State      State
	Row        RobotRow
	Watts      int64
	Experience int64
	Oracle     int
	Progress   float64 // of the contract, 0 to 1
}

// RobotState is the state of one robot.
func (w *World) RobotState(r int) RobotState {
	o := w.oracleOf(r)
	task := o % int(w.P.TaskTypes)
	return RobotState{w.state[r], w.Robot(r), w.P.Classes[w.class[r]].Watts, int64(w.experience[r*int(w.P.TaskTypes)+task]), o, 1 - float64(w.progress[o])/Pico}
}

// Robots and Bondholders count the actors.
func (w *World) Robots() int      { return len(w.ready) }
func (w *World) Bondholders() int { return len(w.wallet) }

// Footprint is the memory of one robot and of one bondholder, in bytes: its columns and
// the flow that it has while it works or spends.
func Footprint(taskTypes int) (robot, bondholder int) {
	const (
		flow    = 4 + 1 + 1 + 1 + 1 + 1 + 4 + 4 + 4 + 8 + 4         // id … data
		columns = 1 + 1 + 1 + 1 + 8 + 8 + 8 + 4 + 8 + 1 + 4 + 1 + 4 // ready … repair
		wallets = 8 + 8 + 8 + 4
	)
	return columns + 4*taskTypes + flow, wallets + flow
}
