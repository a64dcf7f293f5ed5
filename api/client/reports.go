package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"robotorq.org/reserve/api"
)

// ReportRefused is the answer to a report that the digger refused.
type ReportRefused struct {
	Err    *Error
	Answer api.ReportAnswer // where the robot's chain stands, and why
}

// Error implements error.
func (e *ReportRefused) Error() string { return e.Err.Error() }

// Unwrap returns the problem as every other answer has it.
func (e *ReportRefused) Unwrap() error { return e.Err }

// Report hands in a signed report, an envelope in CBOR. The digger may not have
// judged it yet when this returns; a report that it refused at once is a
// [*ReportRefused]. Handing in the same report again is safe.
func (c *Client) Report(ctx context.Context, envelope []byte) (answer api.ReportAnswer, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base.String()+"/api/v1/reports", bytes.NewReader(envelope))
	if err != nil {
		return answer, fmt.Errorf("request: %w", err)
	}
	request.Header.Set("Content-Type", api.TypeCBOR)
	request.Header.Set("Accept", "application/json, "+api.ProblemType)
	response, err := c.http.Do(request)
	if err != nil {
		return answer, fmt.Errorf("the node at %s does not answer: %w", c.base.Host, err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK || response.StatusCode == http.StatusAccepted {
		return decode[api.ReportAnswer](response, nil)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return answer, fmt.Errorf("the node's answer broke off: %w", err)
	}
	var refused api.ReportProblem
	if response.StatusCode == http.StatusUnprocessableEntity && json.Unmarshal(text, &refused) == nil && refused.Answer.Robot != "" {
		return refused.Answer, &ReportRefused{
			Err: &Error{Status: refused.Status, Code: refused.Code, Detail: refused.Detail}, Answer: refused.Answer,
		}
	}
	response.Body = io.NopCloser(bytes.NewReader(text))
	return answer, problem(response)
}

// Mark asks how far the digger has a robot's reports. With the cursor of an
// earlier answer it waits at the node for something new, whole seconds up to
// [api.MaxReportWait].
func (c *Client) Mark(ctx context.Context, robot, cursor string, wait time.Duration) (api.ReportAnswer, error) {
	query := url.Values{}
	if cursor != "" {
		query.Set("cursor", cursor)
		query.Set("wait", strconv.Itoa(int(wait/time.Second)))
	}
	return get[api.ReportAnswer](ctx, c, "/robots/"+url.PathEscape(robot)+"/mark", query)
}
