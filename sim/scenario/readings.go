package scenario

import "robotorq.org/reserve/sim/model"

// reading is a parameter with the resolution, which is the default, and the literal
// reading of the sources.
func reading(name string, field func(*model.Readings) *bool, doc, chosen, literal string) Param {
	return Param{Name: name, Unit: Choice, Choices: []string{chosen, literal}, Doc: doc,
		get: func(p *model.Params) int64 {
			if *field(&p.Readings) {
				return 1
			}
			return 0
		},
		set: func(p *model.Params, v int64) { *field(&p.Readings) = v == 1 }}
}

// readings are the parameters that take a literal reading of the sources.
func readings() []Param {
	type R = model.Readings
	return []Param{
		reading("step_order", func(r *R) *bool { return &r.SeedTableOrder }, "order of the actors in the step phase: robots first, or the seed's actor table", "robots_first", "seed_table"),
		reading("ids", func(r *R) *bool { return &r.UUIDs }, "names of actors in the text log", "text", "uuid"),
		reading("log_lines", func(r *R) *bool { return &r.SeedLinesOnly }, "sentences of the text log: all, or those that the seed has", "all", "seed"),
		reading("streams", func(r *R) *bool { return &r.AllDarts }, "drains and fountains act until they end, or once like every flow", "last", "darts"),
		reading("outcome", func(r *R) *bool { return &r.BothPaths }, "a flow that is refused ends there, or runs its path of success too", "enum", "booleans"),
		reading("failure_type", func(r *R) *bool { return &r.FailureTable }, "what DrainRequest fails by: StreamFailed, or RequestFailed as in the seed's table", "asked", "table"),
		reading("retry_from", func(r *R) *bool { return &r.RetryHead }, "what is retried: the flow that failed, or the first of its chain", "flow", "head"),
		reading("retry_backoff", func(r *R) *bool { return &r.NoBackoff }, "further steps that a retry waits", "doubling", "none"),
		reading("duplicates", func(r *R) *bool { return &r.KeepDuplicates }, "a second ProductionStartFlag of the active run", "dropped", "refused"),
		reading("error_text", func(r *R) *bool { return &r.SeedErrorText }, "reason that an error's failure carries: its own, or the flow's refusal", "own", "seed"),
		reading("second_retainer", func(r *R) *bool { return &r.SecondRetainer }, "SeedXfer spawns a RetainerXfer too", "none", "spawned"),
		reading("auth", func(r *R) *bool { return &r.AuthOne }, "robots of an oracle that get a TokenTorqAuth", "each", "one"),
		reading("sit_rep", func(r *R) *bool { return &r.MergeFirst }, "when TokenTorqAuth merges the sit_rep", "after_check", "before_check"),
		reading("drain_requested_by", func(r *R) *bool { return &r.DrainByAuth }, "flow that calls requestNewDrain", "drain_request", "token_torq_auth"),
		reading("drain_init", func(r *R) *bool { return &r.NoDrainInit }, "whether a drain's first tick sets minimum and training_remaining", "first_tick", "none"),
		reading("end_signal", func(r *R) *bool { return &r.LateSignal }, "when a drain signals completion", "same_tick", "later_check"),
		reading("end_signal_is", func(r *R) *bool { return &r.SignalFails }, "what the end signal counts as", "completion", "failure"),
		reading("countdown", func(r *R) *bool { return &r.FloatCountdown }, "training_remaining: exact, or a float64 that is counted down", "exact", "float"),
		reading("gate", func(r *R) *bool { return &r.TokenGate }, "what a fountain waits for: the end of training, or enough token_torq", "trained", "token_torq"),
		reading("is_trained", func(r *R) *bool { return &r.NeverTrained }, "whether is_trained becomes true again", "restored", "never"),
		reading("locks", func(r *R) *bool { return &r.KeepLocks }, "whether is_active and ready_to_train are released", "released", "kept"),
		reading("leftover", func(r *R) *bool { return &r.KeepLeftover }, "tokens that a fountain leaves", "returned", "kept"),
		reading("rate_plan", func(r *R) *bool { return &r.RateByCapacity }, "tick_rate: capacity by what draws, or the capacity (admission=immediate)", "shared", "capacity"),
		reading("curve_scale", func(r *R) *bool { return &r.GambleInCurve }, "the older curves move production by their value, or by g times it", "progress", "gamble"),
		reading("remaining", func(r *R) *bool { return &r.Multiplicative }, "production_remaining is diminished, or multiplied and never 0", "additive", "multiplicative"),
		reading("weibull_date", func(r *R) *bool { return &r.WeibullScale }, "the delivery date is the peak of the release, or its scale", "mode", "scale"),
	}
}
