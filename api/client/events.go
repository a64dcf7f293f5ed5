package client

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// maxEvent bounds one event of a stream in bytes.
const maxEvent = 1 << 20

// Events follows what happens at the node: connected is called when the stream is open,
// then event for each event of one of the kinds, with its data. It returns when ctx ends,
// when event returns an error, or when the stream breaks off; a client that goes on asks
// again, and reads anew what it shows.
func (c *Client) Events(ctx context.Context, kinds []string, connected func(), event func(kind string, data []byte) error) error {
	answer, err := c.do(ctx, http.MethodGet, "/events", url.Values{"kinds": {strings.Join(kinds, ",")}}, nil, http.Header{"Accept": {"text/event-stream"}})
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	connected()
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, maxEvent)
	kind, data := "", []byte(nil)
	for lines.Scan() {
		name, value, _ := bytes.Cut(lines.Bytes(), []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "event":
			kind = string(value)
		case "data":
			data = append(data, value...)
		case "":
			if len(lines.Bytes()) == 0 && kind != "" {
				if err := event(kind, data); err != nil {
					return err
				}
				kind, data = "", nil
			}
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("the stream of events broke off: %w", err)
	}
	return ctx.Err()
}
