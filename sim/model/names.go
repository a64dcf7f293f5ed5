package model

import (
	"fmt"
	"strings"
)

// Kind is the kind of a flow.
type Kind uint8

// Flows: requests, money darts, streams, failures.
const (
	NoFlow Kind = iota
	SecureBRLA
	SeedNeeded
	ProductionStartFlag
	TokenTorqAuth
	DrainRequest
	UpgradeRequest
	SeedXfer
	RetainerXfer
	SellsToBondholder
	UpgradePledge
	StashVaultPledge
	TokenTorqDrain
	TorqFountain
	RequestFailed
	TransactionFailed
	StreamFailed
	kinds
)

var kindNames = [kinds]string{"", "SecureBRLA", "SeedNeeded", "ProductionStartFlag", "TokenTorqAuth", "DrainRequest",
	"UpgradeRequest", "SeedXfer", "RetainerXfer", "SellsToBondholder", "UpgradePledge", "StashVaultPledge", "TokenTorqDrain",
	"TorqFountain", "RequestFailed", "TransactionFailed", "StreamFailed"}

// String is the seed's name of the flow.
func (k Kind) String() string {
	if k >= kinds {
		return fmt.Sprintf("Kind(%d)", uint8(k))
	}
	return kindNames[k]
}

// Class is request, transaction or failure.
func (k Kind) Class() string {
	switch {
	case k >= RequestFailed:
		return "failure"
	case k >= SeedXfer:
		return "transaction"
	}
	return "request"
}

// Role is the type of an actor; its order is the order of the step phase.
type Role uint8

// Roles in the fixed order of the step phase.
const (
	NoRole Role = iota
	Robot
	Oracle
	BRLA
	Enterprise
	Bondholder
	RoboFund
	BidNet
	Giskard
	Daneel
	Calvin
	Isaac
	roles
)

var roleNames = [roles]string{"", "Robot", "Oracle", "BRLA", "Enterprise", "Bondholder", "RoboFund", "BidNet", "Giskard", "Daneel", "Calvin", "Isaac"}

// String is the actor type's name.
func (r Role) String() string {
	if r >= roles {
		return fmt.Sprintf("Role(%d)", uint8(r))
	}
	return roleNames[r]
}

// Ref is an actor: its role and its index, from 0.
type Ref uint32

// MaxActors is the number of actors of one role that a [Ref] can tell apart.
const MaxActors = 1 << 24

func ref(r Role, i int) Ref { return Ref(uint32(r)<<24 | uint32(i)) }

// RefOf is the actor of a role with an index, 0 ≤ index < [MaxActors].
func RefOf(r Role, index int) Ref { return ref(r, index) }

// Role is the actor's type.
func (r Ref) Role() Role { return Role(r >> 24) }

// Index is the actor's index, from 0.
func (r Ref) Index() int { return int(r & (1<<24 - 1)) }

// String is the actor's stable text id: robot_017, giskard. Bondholders count from
// 000, all others from 001.
func (r Ref) String() string {
	name := strings.ToLower(r.Role().String())
	switch r.Role() {
	case Robot, Oracle, BRLA, Enterprise:
		return fmt.Sprintf("%s_%03d", name, r.Index()+1)
	case Bondholder:
		return fmt.Sprintf("%s_%03d", name, r.Index())
	}
	return name
}

// ParseRef reads a text id.
func ParseRef(text string) (Ref, error) {
	name, number, numbered := strings.Cut(text, "_")
	for role := Robot; role < roles; role++ {
		if strings.ToLower(roleNames[role]) != name {
			continue
		}
		if !numbered {
			return ref(role, 0), nil
		}
		var i int
		if _, err := fmt.Sscanf(number, "%d", &i); err == nil && i >= 0 && i < MaxActors {
			if role != Bondholder {
				i--
			}
			if i >= 0 {
				return ref(role, i), nil
			}
		}
	}
	return 0, &ParamError{"agent", fmt.Sprintf("%q is no actor; they are named like robot_001, bondholder_000, giskard", text)}
}

// State is what a robot does.
type State uint8

// States of a robot.
const (
	Idle State = iota
	Authorised
	Queued
	Training
	WaitingStep
	Producing
	Starved
	Down
	States // their number
)

var stateNames = [States]string{"idle", "authorised", "queued", "training", "waiting_step", "producing", "starved", "down"}

// String is the state's name.
func (s State) String() string { return stateNames[s] }

// Reason says why a check refused.
type Reason uint8

// Reasons of refusals and ends.
const (
	NoReason Reason = iota
	OracleActive
	RobotReadyAlready
	CapacityExhausted
	TrainingComplete
	NotReady
	NotSeeding
	AlreadySeeded
	NoFunds
	Injected
	Duplicate
	reasons
)

// reasonTexts are what a payload carries and, where it differs, what a log line says.
var reasonTexts = [reasons]struct{ payload, short string }{
	OracleActive:      {"Oracle already active", "Oracle already active"},
	RobotReadyAlready: {"Robot already ready to train", "Robot already ready"},
	CapacityExhausted: {"Giskard capacity exhausted", "capacity exhausted"},
	TrainingComplete:  {"Training complete, spawn TorqFountain", "Training complete"},
	NotReady:          {"Not ready", "Not ready"},
	NotSeeding:        {"Isaac not seeding", "Isaac not seeding"},
	AlreadySeeded:     {"BRLA already seeded", "BRLA already seeded"},
	NoFunds:           {"not enough funds", "not enough funds"},
	Injected:          {"injected fault", "injected fault"},
	Duplicate:         {"duplicate of the active run", "duplicate of the active run"},
}

// String is the reason as a failure's payload carries it.
func (r Reason) String() string { return reasonTexts[r].payload }

// Short is the reason as a log line says it.
func (r Reason) Short() string { return reasonTexts[r].short }

// Stage is where in a flow a fault can be provoked.
type Stage uint8

// Stages of a flow's tick, in order.
const (
	StageNone Stage = iota
	StageCore
	StageSpawn
	StageRefuse
	StageFlag
)

var stageNames = []string{"", "core", "spawn", "refuse", "flag"}

// fault is one error to provoke: tests and what-ifs need the seed's catch branches.
type fault struct {
	stage Stage
	kind  Kind
	tick  int64
}

// parseFaults reads "core:TokenTorqAuth@2,spawn:DrainRequest@3".
func parseFaults(text string) (list []fault, err error) {
	if text == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		stage, rest, ok1 := strings.Cut(strings.TrimSpace(part), ":")
		name, at, ok2 := strings.Cut(rest, "@")
		var f fault
		if _, err := fmt.Sscanf(at, "%d", &f.tick); err != nil || !ok1 || !ok2 {
			return nil, &ParamError{"inject", fmt.Sprintf("%q is not STAGE:FLOW@TICK", part)}
		}
		for s, n := range stageNames {
			if s > 0 && n == stage {
				f.stage = Stage(s)
			}
		}
		for k, n := range kindNames {
			if k > 0 && n == name {
				f.kind = Kind(k)
			}
		}
		if f.stage == 0 || f.kind == 0 {
			return nil, &ParamError{"inject", fmt.Sprintf("%q: stages are core, spawn, refuse and flag, flows those of the seed", part)}
		}
		list = append(list, f)
	}
	return list, nil
}
