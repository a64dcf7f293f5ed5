package market

import (
	"fmt"

	"robotorq.org/reserve/market/rails"
)

// NewTask is what a client asks for, with its identifiers and defaults filled in by [Machine.Prepare].
type NewTask struct {
	Task Task
	Hash rails.Hash // of the invoice; unused when the account pays
}

// Prepare checks a request for a task and fills in what follows from the policy. All faults are
// told at once.
func (m Machine) Prepare(t Task, now int64) (Task, error) {
	var f Faults
	checkID(&f, "clientAccountId", t.ClientAccountID)
	checkText(&f, "title", t.Title, 1, 200)
	checkText(&f, "description", t.Description, 0, 20_000)
	switch t.TaskKind {
	case "physical", "compute", "hybrid":
	default:
		f.Add("taskKind", `must be "physical", "compute" or "hybrid"`)
	}
	checkTags(&f, "resourceRequirements", t.ResourceRequirements)
	if t.EscrowSats < 1 || t.EscrowSats > MaxAmountSats {
		f.Add("amountSats", "must be from 1 to %d", MaxAmountSats)
	}
	if t.TimeoutMs == 0 {
		t.TimeoutMs = m.Policy.TaskTimeoutMs
	}
	if t.TimeoutMs < 1 || t.TimeoutMs > MaxTimeoutMs {
		f.Add("timeoutMs", "must be from 1 to %d", int64(MaxTimeoutMs))
	}
	switch t.EscrowMode {
	case "":
		t.EscrowMode = ModeSettled
	case ModeSettled, ModeHold, ModeAccount:
	default:
		f.Add("escrowMode", `must be "settled", "hold" or "account"`)
	}
	if len(t.ProofSchema) > 0 {
		if _, err := CompileSchema(t.ProofSchema); err != nil {
			f.Add("proofSchema", "%s", err)
		}
	}
	checkWebhook(&f, t.WebhookURL)
	if err := f.Err(CodeInvalid); err != nil {
		return t, err
	}
	if window := m.Policy.HoldWindowMs(); t.EscrowMode == ModeHold && t.TimeoutMs > window {
		return t, &Error{Code: CodeTimeoutTooLong, Detail: fmt.Sprintf("A hold invoice lasts %d blocks, of which %d ms are safe: the task may not take longer. Use escrowMode \"settled\".",
			m.Policy.HoldDeltaBlocks, window), Faults: []string{fmt.Sprintf("timeoutMs: must be at most %d with escrowMode hold", window)}}
	}
	t.CoordinatorFeeBps = m.Policy.FeeBps
	t.CoordinatorFeeSats = Fee(t.EscrowSats, t.CoordinatorFeeBps)
	t.RewardSats = t.EscrowSats - t.CoordinatorFeeSats
	t.Status, t.EscrowState, t.CreatedAtMs = PendingFunding, EscrowUnpaid, now
	if t.EscrowMode != ModeAccount {
		t.InvoiceExpiresAtMs = now + m.Policy.InvoiceTTLMs
	}
	return t, nil
}

// Create enters a prepared task with the invoice that was made for it, or pays it from the
// client's account.
func (m Machine) Create(b Books, n NewTask, now int64) (Task, error) {
	t := n.Task
	if t.EscrowMode != ModeAccount {
		if err := b.PutInvoice(InvoiceNote{Hash: n.Hash, TaskID: t.TaskID, AmountSats: t.EscrowSats, ExpiresAtMs: t.InvoiceExpiresAtMs, Open: true}); err != nil {
			return t, err
		}
		return t, b.PutTask(t)
	}
	balance, err := b.Balances([]Account{clientOf(t.ClientAccountID)})
	if err != nil {
		return t, err
	}
	if balance[0] < t.EscrowSats {
		return t, Refuse(CodeInsufficientFunds, "Account %s holds %d sats, the task takes %d. Use escrowMode \"settled\" to pay by invoice.", t.ClientAccountID, balance[0], t.EscrowSats)
	}
	if err := m.funded(&t, now); err != nil {
		return t, err
	}
	t.EscrowState = EscrowReceived
	if err := post(b, Posting{AtMs: now, What: "fund", Ref: t.TaskID, From: clientOf(t.ClientAccountID), To: escrowOf(t.TaskID), Sats: t.EscrowSats}); err != nil {
		return t, err
	}
	return t, b.PutTask(t)
}

// funded opens a task to robots.
func (m Machine) funded(t *Task, now int64) error {
	if err := move(t, Funded, now); err != nil {
		return err
	}
	t.Reason, t.FundedAtMs, t.OpenUntilMs = "", now, now+m.Policy.OpenTTLMs
	if t.EscrowMode == ModeHold {
		t.OpenUntilMs = now + min(m.Policy.OpenTTLMs, m.Policy.HoldWindowMs())
	}
	return nil
}

// Paid takes note of an invoice as the Lightning node shows it. Sats that arrived are counted
// once, however often it is told; what arrived for a task that no longer waits for it, or beyond
// its price, goes to the client's account.
func (m Machine) Paid(b Books, inv rails.Invoice, now int64) (Task, error) {
	note, ok, err := b.Invoice(inv.Hash)
	if err != nil {
		return Task{}, err
	}
	if !ok {
		return Task{}, Refuse(CodeTaskNotFound, "No task has an invoice with this payment hash.")
	}
	t, err := task(b, note.TaskID)
	if err != nil {
		return t, err
	}
	switch inv.State {
	case rails.InvoiceHeld:
		return m.held(b, note, t, inv, now)
	case rails.InvoiceSettled:
		return m.receive(b, note, t, inv, now)
	case rails.InvoiceCancelled:
		return m.lapsed(b, note, t, now)
	}
	return t, nil
}

func (m Machine) held(b Books, note InvoiceNote, t Task, inv rails.Invoice, now int64) (Task, error) {
	if t.Status != PendingFunding || inv.PaidSats < t.EscrowSats {
		return t, nil // what is held for a closed task is cancelled by the caller, see HoldToCancel
	}
	if err := m.funded(&t, now); err != nil {
		return t, err
	}
	t.EscrowState, t.HoldExpiryHeight = EscrowHeld, inv.ExpiryHeight
	return t, b.PutTask(t)
}

// HoldToCancel tells whether a payment is held that the task has no use for any more.
func (t Task) HoldToCancel(state rails.InvoiceState) bool {
	return state == rails.InvoiceHeld && t.EscrowState != EscrowHeld && t.EscrowState != EscrowCapturing
}

func (m Machine) receive(b Books, note InvoiceNote, t Task, inv rails.Invoice, now int64) (Task, error) {
	more := inv.PaidSats - note.CountedSats
	if more <= 0 {
		return t, nil
	}
	p := Posting{AtMs: now, What: "late", Ref: t.TaskID, From: received, To: clientOf(t.ClientAccountID), Sats: more}
	postings := []Posting{p}
	waits := t.Status == PendingFunding || t.EscrowState == EscrowCapturing
	if waits && more >= t.EscrowSats {
		if t.Status == PendingFunding {
			if err := m.funded(&t, now); err != nil {
				return t, err
			}
		}
		t.EscrowState = EscrowReceived
		p.Sats = more - t.EscrowSats
		fund := Posting{AtMs: now, What: "fund", Ref: t.TaskID, From: received, To: escrowOf(t.TaskID), Sats: t.EscrowSats}
		postings = []Posting{fund, p}
	}
	if err := post(b, postings...); err != nil {
		return t, err
	}
	if t.Status == Refunding { // it was taken in after all; the account has it now
		if err := move(&t, Refunded, now); err != nil {
			return t, err
		}
		t.EscrowState, t.RefundedSats = EscrowReleased, more
	}
	note.CountedSats, note.Open = inv.PaidSats, false
	if err := b.PutInvoice(note); err != nil {
		return t, err
	}
	return t, b.PutTask(t)
}

// lapsed closes a task whose invoice can no longer be paid, or whose hold is gone.
func (m Machine) lapsed(b Books, note InvoiceNote, t Task, now int64) (Task, error) {
	if note.Open {
		note.Open = false
		if err := b.PutInvoice(note); err != nil {
			return t, err
		}
	}
	switch {
	case t.Status == PendingFunding:
		if t.Reason == "" {
			t.Reason = "the invoice was not paid in time"
		}
		if err := move(&t, Cancelled, now); err != nil {
			return t, err
		}
	case t.EscrowState == EscrowHeld || t.EscrowState == EscrowCapturing:
		if t.Reason == "" {
			t.Reason = "the held payment was returned to the client"
		}
		if t.Status != Refunding {
			if err := move(&t, Refunding, now); err != nil {
				return t, err
			}
		}
		t.EscrowState, t.RefundedSats = EscrowReleased, t.EscrowSats
		if err := move(&t, Refunded, now); err != nil {
			return t, err
		}
	default:
		return t, nil
	}
	return t, b.PutTask(t)
}

// Cancel is the client's way back before a robot has claimed. A task that waits for its payment
// is cancelled by [Machine.Paid] once its invoice is; a held payment is freed the same way.
func (m Machine) Cancel(b Books, taskID, client string, now int64) (Task, error) {
	t, err := owned(b, taskID, client)
	if err != nil {
		return t, err
	}
	switch t.Status {
	case PendingFunding:
		t.Reason = "the client cancelled"
		return t, b.PutTask(t)
	case Refunding, Refunded, Cancelled:
		return t, nil // it is what was asked for
	case Funded:
		return m.giveBack(b, t, "the client cancelled", now)
	}
	return t, Refuse(CodeTaskNotCancellable, "Task %s is %s; only a task that no robot has claimed can be cancelled.", t.TaskID, t.Status)
}

// giveBack returns the escrow: received sats to the client's account at once; a held payment
// waits in refunding until Lightning has freed it.
func (m Machine) giveBack(b Books, t Task, reason string, now int64) (Task, error) {
	t.Reason = reason
	if err := move(&t, Refunding, now); err != nil {
		return t, err
	}
	if t.EscrowState == EscrowReceived {
		if err := post(b, Posting{AtMs: now, What: "refund", Ref: t.TaskID, From: escrowOf(t.TaskID), To: clientOf(t.ClientAccountID), Sats: t.EscrowSats}); err != nil {
			return t, err
		}
		t.EscrowState, t.RefundedSats = EscrowReleased, t.EscrowSats
		if err := move(&t, Refunded, now); err != nil {
			return t, err
		}
	}
	return t, b.PutTask(t)
}

// Guard frees a held payment before the Lightning node would cancel it by itself.
func (m Machine) Guard(b Books, taskID string, height, now int64) (Task, error) {
	t, err := task(b, taskID)
	if err != nil || t.Status != Funded || t.EscrowState != EscrowHeld || height < t.HoldExpiryHeight-lndCancels-guardianMargin {
		return t, err
	}
	return m.giveBack(b, t, "the held payment was about to end before a robot claimed the task", now)
}
