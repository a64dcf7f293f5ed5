package web

import (
	"fmt"
	"strings"

	"robotorq.org/reserve/market"
)

// lifeStep is something that happened to a task.
type lifeStep struct {
	AtMs int64
	What string
	Say  string
	Tone string // "" usual, "good", "bad"
}

// sats writes an amount.
func sats(n int64) string {
	if n == 1 {
		return "1 sat"
	}
	return number(n) + " sats"
}

// stateWords say where a task is.
var stateWords = map[market.Status]string{
	market.PendingFunding: "it waits for its payment",
	market.Funded:         "the first robot that claims it has it",
	market.Claimed:        "a robot is at it",
	market.ProofSubmitted: "the client looks at the proof",
	market.Settled:        "the proof was accepted",
	market.Disputed:       "the operator decides",
	market.Expired:        "it was not proven in time",
	market.Cancelled:      "it was never paid for",
	market.Refunding:      "its sats are on their way back to the client",
	market.Refunded:       "its sats are the client’s again",
}

// stateSays says where a task is and why.
func stateSays(t market.Task) string {
	if t.Status == market.Settled && t.Resolution != nil {
		return "the dispute was decided"
	}
	return stateWords[t.Status]
}

// ForRobot is what the robot gets, or would get; empty when it comes to nothing.
func (d taskData) ForRobot() string {
	robot := d.T.RewardSats
	switch {
	case d.T.Status == market.Cancelled, d.T.Status == market.Refunding, d.T.Status == market.Refunded:
		return ""
	case d.T.Status == market.Settled && d.T.Resolution != nil:
		robot = d.T.Resolution.RobotSats
	}
	return sats(robot)
}

var fundedWords = map[market.EscrowMode]string{
	market.ModeSettled: "%s came in over Lightning and are kept until the proof is accepted.",
	market.ModeHold:    "%s are held by the payer’s own node, and taken in when a robot claims.",
	market.ModeAccount: "%s were taken from the client’s account and are kept until the proof is accepted.",
}

// lifeOf tells a task as it happened. What is between client and operator is told to those
// who signed in.
func lifeOf(t market.Task, in bool) []lifeStep {
	steps := []lifeStep{{AtMs: t.CreatedAtMs, What: "Posted", Say: fmt.Sprintf("%s: %s for the robot, %s for the coordinator.", sats(t.EscrowSats), number(t.RewardSats), number(t.CoordinatorFeeSats))}}
	add := func(at int64, what, say, tone string) {
		if at != 0 {
			steps = append(steps, lifeStep{at, what, say, tone})
		}
	}
	add(t.FundedAtMs, "Paid", fmt.Sprintf(fundedWords[t.EscrowMode], sats(t.EscrowSats)), "")
	add(t.ClaimedAtMs, "Claimed", fmt.Sprintf("by robot %s, with %s for the proof.", t.ClaimedBy, lasting(t.TimeoutMs)), "")
	add(t.ProofSubmittedAtMs, "Proven", "The robot handed in its proof"+provenInTime(t), "")
	add(t.DisputedAtMs, "Disputed", inside(in, t.DisputeReason, "by the client."), "bad")
	if r := t.Resolution; r != nil {
		add(r.AtMs, "Decided", inside(in, r.Note, "")+decided(t), "")
	}
	add(t.SettledAtMs, "Accepted", settledWords(t), "good")
	if t.Status == market.Expired || t.Status == market.Refunding {
		steps = append(steps, lifeStep{What: "Ended", Say: t.Reason, Tone: "bad"})
	}
	if t.Status == market.Cancelled || t.Status == market.Refunded {
		add(t.ClosedAtMs, map[market.Status]string{market.Cancelled: "Closed", market.Refunded: "Given back"}[t.Status], endedWords(t), "bad")
	}
	return steps
}

func inside(in bool, text, otherwise string) string {
	if !in || text == "" {
		return otherwise
	}
	return "“" + text + "” "
}

func provenInTime(t market.Task) string {
	if left := t.DeadlineMs - t.ProofSubmittedAtMs; t.DeadlineMs != 0 && left > 0 {
		return ", " + lasting(left) + " before it was due."
	}
	return "."
}

func decided(t market.Task) string {
	switch t.Resolution.Outcome {
	case market.OutcomePay:
		return "The robot is paid in full."
	case market.OutcomeRefund:
		return "The client gets everything back."
	}
	return fmt.Sprintf("Split: %s for the robot, %s back to the client.", sats(t.Resolution.RobotSats), sats(t.RewardSats-t.Resolution.RobotSats))
}

func settledWords(t market.Task) string {
	robot := t.RewardSats
	if t.Resolution != nil {
		robot = t.Resolution.RobotSats
	}
	if robot == 0 {
		return "Nothing of it is the robot’s."
	}
	return sats(robot) + " are robot " + t.ClaimedBy + "’s and leave with a payout on chain."
}

func endedWords(t market.Task) string {
	text := ""
	if t.Reason != "" {
		text = t.Reason + ". "
	}
	switch {
	case t.RefundedSats > 0:
		return text + sats(t.RefundedSats) + " are on the client’s account again."
	case t.Status == market.Refunded:
		return text + "What was held never left the payer."
	}
	return text + "No sats moved."
}

// nextOf is what comes next and by when, 0 when no clock decides.
func nextOf(t market.Task, p market.Policy) (say string, by int64) {
	switch t.Status {
	case market.PendingFunding:
		return "Whoever pays the invoice opens the task to robots. Unpaid, it closes", t.InvoiceExpiresAtMs
	case market.Funded:
		return "Any robot with the capabilities can claim it. Unclaimed, it goes back to the client", t.OpenUntilMs
	case market.Claimed:
		return "The robot hands in its proof. Without one, the task expires", t.DeadlineMs
	case market.ProofSubmitted:
		return "The client accepts or disputes. If nothing is said, the proof is accepted by itself", t.ReviewUntilMs
	case market.Disputed:
		return "The operator decides: pay, refund or split. If nobody does, it is split evenly", t.DisputedAtMs + p.DisputeTTLMs
	case market.Expired, market.Refunding:
		return "The coordinator gives the sats back; it takes a moment", 0
	}
	return "", 0
}

// lasting is a length of time without what is nought in it.
func lasting(ms int64) string {
	text := durationText(ms)
	for _, nought := range []string{" 0 s", " 0 min", " 0 h"} {
		text = strings.TrimSuffix(text, nought)
	}
	return text
}

// agoText is the time since something, in words.
func agoText(now, ms int64) string {
	switch since := (now - ms) / 1000; {
	case since < 0:
		return untilText(now, ms)
	case since < 5:
		return "just now"
	case since < 60:
		return fmt.Sprintf("%d s ago", since)
	}
	return lasting(now-ms) + " ago"
}

// spaced writes a word of the interface for people.
func spaced(word any) string { return strings.ReplaceAll(fmt.Sprint(word), "_", " ") }
