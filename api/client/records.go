package client

import (
	"context"
	"fmt"

	"robotorq.org/reserve/api"
)

// LogEntries is one page of the proof log's entries of a kind (all with ""), newest first.
func (c *Client) LogEntries(ctx context.Context, kind string, page api.Page) (api.List[api.LogEntry], error) {
	query := pageQuery(page)
	if kind != "" {
		query.Set("kind", kind)
	}
	return get[api.List[api.LogEntry]](ctx, c, "/log/entries", query)
}

// LogEntry is an entry of the proof log with its envelope and proof.
func (c *Client) LogEntry(ctx context.Context, index uint64) (api.LogRecord, error) {
	return get[api.LogRecord](ctx, c, fmt.Sprintf("/log/entries/%d", index), nil)
}
