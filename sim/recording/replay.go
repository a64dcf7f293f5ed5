package recording

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"robotorq.org/reserve/sim/model"
)

// Moment is an actor at a tick, as the event log tells it.
type Moment struct {
	Tick    uint32             `json:"tick"`
	Agent   string             `json:"agent"`
	Robot   *RobotMoment       `json:"robot,omitempty"`
	Oracle  *model.OracleState `json:"oracle,omitempty"`
	Account map[string]int64   `json:"accounts,omitempty"`
	Log     []string           `json:"log"` // the actor's lines of that tick
}

// RobotMoment is a robot's part of a [Moment].
type RobotMoment struct {
	State string `json:"state"`
	model.RobotRow
	Experience int64   `json:"experience"`
	Watts      int64   `json:"watts"`
	Progress   float64 `json:"progress"`
}

// Replay tells an actor's state at the end of a tick from a run's event log alone.
func Replay(dir string, tick uint32, agent model.Ref) (m Moment, err error) {
	d, err := Read(dir)
	if err != nil {
		return m, err
	}
	if tick > d.Ticks {
		return m, &model.ParamError{Name: "at", Detail: fmt.Sprintf("the run has %d ticks", d.Ticks)}
	}
	if d.Events != "all" {
		return m, &model.ParamError{Name: "events", Detail: "the run keeps no full event log; run it with --events bin and at most 10,000 robots"}
	}
	p, err := d.Params()
	if err != nil {
		return m, err
	}
	again, err := model.NewReplay(p)
	if err != nil {
		return m, err
	}
	f, err := os.Open(filepath.Join(dir, EventsFile+"bin"))
	if err != nil {
		return m, fmt.Errorf("the run has no binary event log; run it with --events bin: %w", err)
	}
	defer f.Close()
	m = Moment{Tick: tick, Agent: agent.String(), Log: []string{}}
	in := bufio.NewReaderSize(f, 1<<18)
	buf := make([]byte, model.EventSize)
	for {
		if _, err := io.ReadFull(in, buf); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return m, fmt.Errorf("the event log is cut off: %w", err)
		}
		e, err := model.ParseEvent(buf)
		if err != nil {
			return m, err
		}
		if e.Tick > tick {
			break
		}
		again.Apply(&e)
		if line, said := p.Sentence(&e); said && e.Tick == tick && (e.Src == agent || e.Dst == agent) {
			m.Log = append(m.Log, line)
		}
	}
	if !again.Has(agent) {
		return m, &model.ParamError{Name: "agent", Detail: fmt.Sprintf("there is no %s in this run", agent)}
	}
	m.show(again, agent)
	return m, nil
}

// show fills in what belongs to the actor.
func (m *Moment) show(again *model.Replay, agent model.Ref) {
	names := map[string]bool{}
	switch agent.Role() {
	case model.Robot:
		s := again.Robot(agent.Index())
		m.Robot = &RobotMoment{s.State.String(), s.Row, s.Experience, s.Watts, s.Progress}
		return
	case model.Oracle:
		o := again.Oracle(agent.Index())
		m.Oracle = &o
		return
	case model.Enterprise, model.BRLA:
		names[agent.String()] = true
		names[map[model.Role]string{model.Enterprise: "enterprise", model.BRLA: "brla"}[agent.Role()]] = true
	case model.Bondholder:
		names[agent.String()] = true
	case model.Isaac:
		names["issuance"], names["disto_buffer"], names["stake_vault"], names["stash_vaults"] = true, true, true, true
	case model.Calvin:
		names["calvin_funnel"], names["calvin_parked"] = true, true
	case model.RoboFund:
		names["robofund"] = true
	}
	m.Account = map[string]int64{}
	for _, a := range again.Accounts() {
		if names[a.Name] {
			m.Account[a.Name] = a.Balance
		}
	}
}
