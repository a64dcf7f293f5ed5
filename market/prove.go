package market

import (
	"crypto/sha256"
	"encoding/hex"
)

// Proof is what a robot hands in. Faults are what the task's schema has against Payload, found
// by [Schema.Check] without the books since that may take a while.
type Proof struct {
	AgentID string
	Payload []byte // JSON
	Faults  []string
	Ore     *OreVerdict
}

// Prove takes the proof of the robot that claimed the task. The deadline is judged here, at the
// write: at the deadline itself a proof still counts, a millisecond later it does not.
func (m Machine) Prove(b Books, taskID string, p Proof, now int64) (Task, error) {
	t, err := task(b, taskID)
	if err != nil {
		return t, err
	}
	switch {
	case t.Status != Claimed:
		return t, Refuse(CodeTaskNotClaimed, "Task %s is %s.", t.TaskID, t.Status)
	case t.ClaimedBy != p.AgentID:
		return t, Refuse(CodeNotClaimedByAgent, "Task %s was claimed by another agent.", t.TaskID)
	case now > t.DeadlineMs:
		return t, Refuse(CodeDeadlinePassed, "The deadline was %d, %d ms ago.", t.DeadlineMs, now-t.DeadlineMs)
	case len(p.Payload) > MaxProof:
		return t, &Error{Code: CodeProofTooLarge, Detail: "A proof has at most 1 MiB.", Faults: []string{"payload: is too large"}}
	case len(p.Faults) > 0:
		return t, &Error{Code: CodeProofInvalid, Detail: "The proof does not match the task's schema; errors names each place.", Faults: p.Faults}
	}
	if err := move(&t, ProofSubmitted, now); err != nil {
		return t, err
	}
	sum := sha256.Sum256(p.Payload)
	t.ProofSHA256, t.Ore = hex.EncodeToString(sum[:]), p.Ore
	t.ProofSubmittedAtMs, t.ReviewUntilMs = now, now+m.Policy.AutoSettleMs
	if err := b.PutProof(t.TaskID, p.Payload); err != nil {
		return t, err
	}
	return t, b.PutTask(t)
}
