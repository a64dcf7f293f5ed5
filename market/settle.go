package market

import (
	"fmt"
)

// Settle is the client's acceptance of a proof.
func (m Machine) Settle(b Books, taskID, client, entryID string, now int64) (Task, error) {
	t, err := owned(b, taskID, client)
	if err != nil {
		return t, err
	}
	if t.Status != ProofSubmitted {
		return t, Refuse(CodeTaskNotSubmitted, "Task %s is %s.", t.TaskID, t.Status)
	}
	return m.pay(b, t, t.RewardSats, entryID, now)
}

// pay settles a task: so much to the robot, the coordinator's fee, the rest of the escrow to the
// client's account.
func (m Machine) pay(b Books, t Task, robotSats int64, entryID string, now int64) (Task, error) {
	if t.EscrowState != EscrowReceived {
		return t, Refuse(CodeEscrowNotReceived, "The held payment of task %s is still being taken in; try again.", t.TaskID)
	}
	a, ok, err := b.Agent(t.ClaimedBy)
	if err != nil {
		return t, err
	}
	if !ok {
		return t, &BrokenError{fmt.Sprintf("task %s was claimed by agent %s, which does not exist", t.TaskID, t.ClaimedBy)}
	}
	if err := move(&t, Settled, now); err != nil {
		return t, err
	}
	back := t.EscrowSats - robotSats - t.CoordinatorFeeSats
	from := escrowOf(t.TaskID)
	err = post(b,
		Posting{AtMs: now, What: "settle", Ref: t.TaskID, From: from, To: accruedOf(a.AgentID), Sats: robotSats},
		Posting{AtMs: now, What: "fee", Ref: t.TaskID, From: from, To: fees, Sats: t.CoordinatorFeeSats},
		Posting{AtMs: now, What: "refund", Ref: t.TaskID, From: from, To: clientOf(t.ClientAccountID), Sats: back})
	if err != nil {
		return t, err
	}
	if robotSats > 0 {
		err = b.PutEntries([]Entry{{EntryID: entryID, AgentID: a.AgentID, TaskID: t.TaskID, EarnedSats: robotSats, Status: Accrued,
			CreatedAtMs: now, Address: a.AddressAt(now), FeeSats: t.CoordinatorFeeSats}})
		if err != nil {
			return t, err
		}
	}
	a.SuccessCount++
	a.Strikes, a.NextClaimAtMs = 0, 0
	if err := b.PutAgent(a); err != nil {
		return t, err
	}
	t.EscrowState, t.SettledAtMs, t.RefundedSats = EscrowReleased, now, back
	return t, b.PutTask(t)
}

// Dispute stops the automatic settlement until an administrator has decided.
func (m Machine) Dispute(b Books, taskID, client, reason string, now int64) (Task, error) {
	var f Faults
	checkText(&f, "reason", reason, 1, 2_000)
	if err := f.Err(CodeInvalid); err != nil {
		return Task{}, err
	}
	t, err := owned(b, taskID, client)
	if err != nil {
		return t, err
	}
	if t.Status != ProofSubmitted {
		return t, Refuse(CodeTaskNotSubmitted, "Task %s is %s.", t.TaskID, t.Status)
	}
	if now >= t.ReviewUntilMs {
		return t, Refuse(CodeReviewClosed, "The time to dispute ended at %d.", t.ReviewUntilMs)
	}
	if err := move(&t, Disputed, now); err != nil {
		return t, err
	}
	t.DisputeReason, t.DisputedAtMs = reason, now
	return t, b.PutTask(t)
}

// Resolve is an administrator's decision about a dispute.
func (m Machine) Resolve(b Books, taskID string, r Resolution, entryID string, now int64) (Task, error) {
	t, err := task(b, taskID)
	if err != nil {
		return t, err
	}
	var f Faults
	checkText(&f, "note", r.Note, 0, 2_000)
	switch r.Outcome {
	case OutcomePay:
		r.RobotSats = t.RewardSats
	case OutcomeRefund:
		r.RobotSats = 0
	case OutcomeSplit:
		if r.RobotSats < 0 || r.RobotSats > t.RewardSats {
			f.Add("robotSats", "must be from 0 to %d, the task's reward", t.RewardSats)
		}
	default:
		f.Add("outcome", `must be "pay", "refund" or "split"`)
	}
	if err := f.Err(CodeInvalid); err != nil {
		return t, err
	}
	if t.Status != Disputed {
		return t, Refuse(CodeTaskNotDisputed, "Task %s is %s.", t.TaskID, t.Status)
	}
	return m.resolve(b, t, r, entryID, now)
}

func (m Machine) resolve(b Books, t Task, r Resolution, entryID string, now int64) (Task, error) {
	if t.EscrowState != EscrowReceived {
		return t, Refuse(CodeEscrowNotReceived, "The held payment of task %s is still being taken in; try again.", t.TaskID)
	}
	r.AtMs = now
	t.Resolution = &r
	if r.Outcome == OutcomeRefund {
		return m.giveBack(b, t, "the dispute was decided for the client", now)
	}
	return m.pay(b, t, r.RobotSats, entryID, now)
}

// Tick does to a task what time alone does, if it is due. What needs Lightning first (an unpaid
// invoice, a hold) is left to the caller: the task comes back as it was.
func (m Machine) Tick(b Books, taskID, entryID string, now int64) (Task, error) {
	t, err := task(b, taskID)
	if err != nil {
		return t, err
	}
	if at, ok := t.DueMs(m.Policy); !ok || now < at || t.EscrowState == EscrowCapturing {
		return t, nil
	}
	switch t.Status {
	case Funded:
		return m.giveBack(b, t, "no robot claimed the task in time", now)
	case Claimed:
		return m.expire(b, t, now)
	case ProofSubmitted:
		return m.pay(b, t, t.RewardSats, entryID, now)
	case Disputed:
		half := Resolution{Outcome: OutcomeSplit, RobotSats: t.RewardSats / 2, By: "coordinator", Note: "nobody decided in time: split evenly"}
		return m.resolve(b, t, half, entryID, now)
	case Expired:
		return m.afterExpiry(b, t, now)
	}
	return t, nil
}

// expire takes a task from a robot that did not prove it in time.
func (m Machine) expire(b Books, t Task, now int64) (Task, error) {
	a, ok, err := b.Agent(t.ClaimedBy)
	if err != nil {
		return t, err
	}
	if err := move(&t, Expired, now); err != nil {
		return t, err
	}
	if ok {
		a.strike(m.Policy, now)
		if err := b.PutAgent(a); err != nil {
			return t, err
		}
	}
	t.Reason = fmt.Sprintf("agent %s did not prove it in time", t.ClaimedBy)
	return t, b.PutTask(t)
}

// afterExpiry lists a task again if the client asked for that and there is time left, and
// refunds it otherwise.
func (m Machine) afterExpiry(b Books, t Task, now int64) (Task, error) {
	if !t.Relist || now >= t.OpenUntilMs {
		return m.giveBack(b, t, t.Reason, now)
	}
	if err := move(&t, Funded, now); err != nil {
		return t, err
	}
	t.ClaimedBy, t.ClaimedAtMs, t.DeadlineMs, t.Reason = "", 0, 0, ""
	return t, b.PutTask(t)
}
