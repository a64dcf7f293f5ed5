package market

import (
	"fmt"
)

// Machine is the rules. Its zero value is of no use: it needs a policy that [Policy.Check] likes.
// Operations take the time in Unix milliseconds; identifiers and secrets are the caller's.
type Machine struct{ Policy Policy }

// move changes a task's state, legally.
func move(t *Task, to Status, now int64) error {
	if !Legal(t.Status, to) {
		return &BrokenError{fmt.Sprintf("task %s went from %s to %s", t.TaskID, t.Status, to)}
	}
	t.Status = to
	if to.Final() {
		t.ClosedAtMs = now
	}
	return nil
}

// task reads a task that must exist.
func task(b Books, id string) (Task, error) {
	t, ok, err := b.Task(id)
	if err == nil && !ok {
		err = Refuse(CodeTaskNotFound, "There is no task %s.", id)
	}
	return t, err
}

// owned reads a task that must exist and belong to a client account.
func owned(b Books, id, client string) (Task, error) {
	t, err := task(b, id)
	if err == nil && t.ClientAccountID != client {
		err = Refuse(CodeNotYourTask, "Task %s belongs to another client account.", id)
	}
	return t, err
}
