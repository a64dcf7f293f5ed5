package main

import (
	"context"
	"fmt"
	"time"

	"robotorq.org/reserve/bench"
)

type benchSimCmd struct {
	Robots int           `default:"10000" help:"Robots of the whole economy."`
	Each   time.Duration `default:"1s" help:"Processor time of each measurement."`
	Decade bool          `help:"Also ten years of 10,000 robots and 100,000 bondholders."`
}

// Help is the long help with examples.
func (benchSimCmd) Help() string {
	return `Rates are of one second of processor time: of one core, whatever else the machine
does. The micro-model is trained over and over (see docs/simulator.md); the economy is
the version 0.3.0 one with many robots. The limit is how many agents of 40 bytes one
core reads from memory and writes back in a second, measured in the same run: a
simulator that touches each agent once a tick cannot be faster.

Examples:
  robotorq bench sim
  robotorq bench sim --decade --json`
}

func (c *benchSimCmd) Run(ctx context.Context, std streams, g *global) error {
	if c.Robots < 1 || c.Robots > 1<<22 || c.Each < 10*time.Millisecond || c.Each > time.Minute {
		return &exitError{exitUsage, fmt.Errorf("robots must be from 1 to 4 million, each from 10ms to 1m")}
	}
	bar := newProgress(std.Err, g.JSON)
	done := uint64(0)
	f, err := bench.Sim(ctx, bench.SimOptions{Now: time.Now, Robots: c.Robots, Each: c.Each, Decade: c.Decade, Progress: func(string) {
		done++
		bar.at("measurements", done, 11)
	}})
	bar.end()
	if err != nil {
		return err
	}
	if g.JSON {
		return writeJSON(std.Out, simResult(f))
	}
	const mega, giga = 1e6, 1e9
	fmt.Fprintf(std.Out, `sim: figures of one core
  micro-model    %.2f G agent-ticks/s in ticks, %.1f G/s in steps, %.2f G/s in floats
  economy        %.0f M flow executions/s in ticks, %.0f M/s in steps, %.0f M/s with the event log
  collectors     %.1f %% of a run
  replicas       %.0f %% efficient on all cores by the clock, %.0f %% by processor time
  memory         %d bytes a robot, %d a bondholder; %.0f bytes a robot for the whole world
`, f.MicroTick/giga, f.MicroStep/giga, f.MicroFloat/giga, f.EconomyTick/mega, f.EconomyStep/mega, f.Events/mega, 100*f.Collectors,
		100*f.ReplicasWall, 100*f.ReplicasCPU, f.RobotBytes, f.BondholderBytes, f.HeapPerRobot)
	if c.Decade {
		fmt.Fprintf(std.Out, "  ten years      %.1f s (%.1f s of processor), %s, %s flows\n", f.DecadeWall.Seconds(), f.DecadeCPU.Seconds(), bytesOf(f.DecadeHeap), counted(f.DecadeFlows))
	}
	fmt.Fprintf(std.Out, "  limit          %.2f G agents/s of 40 bytes: %.1f GB/s of memory\n  ratio          %.2f\n", f.Touched/giga, f.Bandwidth/giga, f.Ratio())
	return nil
}

func simResult(f bench.SimFigures) benchResult {
	return benchResult{
		Name: "sim", Ratio: f.Ratio(), Machine: machine(),
		Figures: map[string]float64{
			"micro_tick_agent_ticks_per_second": f.MicroTick, "micro_step_agent_ticks_per_second": f.MicroStep, "micro_float_agent_ticks_per_second": f.MicroFloat,
			"economy_tick_flows_per_second": f.EconomyTick, "economy_step_flows_per_second": f.EconomyStep, "economy_events_flows_per_second": f.Events,
			"collectors_share": f.Collectors, "replica_efficiency": f.ReplicasWall, "replica_efficiency_cpu": f.ReplicasCPU,
			"bytes_per_robot": float64(f.RobotBytes), "bytes_per_bondholder": float64(f.BondholderBytes), "heap_per_robot": f.HeapPerRobot,
			"decade_seconds": f.DecadeWall.Seconds(), "decade_cpu_seconds": f.DecadeCPU.Seconds(), "decade_heap_bytes": float64(f.DecadeHeap), "decade_flows": float64(f.DecadeFlows),
		},
		Limit: map[string]float64{"memory_bytes_per_second": f.Bandwidth, "touched_agents_per_second": f.Touched},
	}
}
