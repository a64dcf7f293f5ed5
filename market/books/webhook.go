package books

import (
	"encoding/json"
	"fmt"

	"robotorq.org/reserve/market"
)

// Call is an event that waits to be told to a client.
type Call struct {
	ID    string
	URL   string
	Body  []byte
	Tries int64
}

// tell queues what a client asked to be told, in the transaction in which it happens.
func (t *Tx) tell(task market.Task) error {
	if task.WebhookURL == "" {
		return nil
	}
	at := max(task.CreatedAtMs, task.FundedAtMs, task.ClaimedAtMs, task.ProofSubmittedAtMs, task.DisputedAtMs, task.SettledAtMs, task.ClosedAtMs)
	id := fmt.Sprintf("%s.%s.%d", task.TaskID, task.Status, at)
	body, err := json.Marshal(map[string]any{"id": id, "event": "task." + string(task.Status), "taskId": task.TaskID,
		"clientAccountId": task.ClientAccountID, "status": task.Status, "atMs": at})
	if err != nil {
		return err
	}
	return t.exec("INSERT INTO market_webhook (id, url, body, tries, due) VALUES (?, ?, ?, 0, ?) ON CONFLICT (id) DO NOTHING", id, task.WebhookURL, string(body), at)
}

// Calls are the events that are due.
func (t *Tx) Calls(now int64, limit int) (out []Call, err error) {
	err = t.all("SELECT id, url, body, tries FROM market_webhook WHERE due <= ? ORDER BY due, id LIMIT ?", []any{now, limit}, func(scan func(...any) error) error {
		var c Call
		err := scan(&c.ID, &c.URL, &c.Body, &c.Tries)
		out = append(out, c)
		return err
	})
	return out, err
}

// TakeCall puts an event off while somebody tells it.
func (t *Tx) TakeCall(id string, until int64) error {
	return t.exec("UPDATE market_webhook SET due = ? WHERE id = ?", until, id)
}

// Told ends an event, or puts it off until due when that is not 0.
func (t *Tx) Told(id string, due int64) error {
	if due == 0 {
		return t.exec("DELETE FROM market_webhook WHERE id = ?", id)
	}
	return t.exec("UPDATE market_webhook SET tries = tries + 1, due = ? WHERE id = ?", due, id)
}
