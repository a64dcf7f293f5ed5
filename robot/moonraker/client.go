package moonraker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"robotorq.org/reserve/robot/deadline"
)

// maxAnswer bounds an answer or notification in bytes.
const maxAnswer = 1 << 20

// Clock is the time that passes between two attempts.
type Clock interface {
	// NewTimer returns a channel that receives once after d, and its stop
	// function.
	NewTimer(d time.Duration) (<-chan time.Time, func() bool)
}

// Config says which printer and how. URL, HTTP and Clock are required.
type Config struct {
	// URL is Moonraker's address, such as http://printer.local:7125.
	URL string
	// APIKey is sent as X-Api-Key, and for the websocket exchanged for a
	// one-shot token; empty where the agent is a trusted client.
	APIKey string
	// HTTP is shared by all clients. It needs no timeout: every request here
	// has its own.
	HTTP  *http.Client
	Clock Clock
	Log   *slog.Logger // nil for none
	// Name and Version are told to Moonraker; by default "robotorq" and "1".
	Name, Version string
}

// Client talks to one printer. It is safe for concurrent use.
type Client struct {
	config Config
	base   string // without a slash at the end
	log    *slog.Logger
}

// Code is the stable name of a kind of failure.
type Code string

// Codes of [Error].
const (
	CodeAddress      Code = "printer_address"      // the address cannot be used
	CodeUnreachable  Code = "printer_unreachable"  // no answer; there may be one later
	CodeUnauthorized Code = "printer_unauthorized" // no API key, or a wrong one
	CodeRefused      Code = "printer_refused"      // the printer will not do this now
	CodeAnswer       Code = "printer_answer"       // an answer that is not Moonraker's
)

// Error is a failure to talk to the printer.
type Error struct {
	Code   Code
	Detail string
	Err    error // the cause, may be nil
}

// Error says what was wrong.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Detail + ": " + e.Err.Error()
	}
	return e.Detail
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ErrorCode returns the stable code.
func (e *Error) ErrorCode() string { return string(e.Code) }

// New prepares a client; it does not connect.
func New(config Config) (*Client, error) {
	parsed, err := url.Parse(config.URL)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return nil, &Error{Code: CodeAddress, Detail: fmt.Sprintf("%q is not the address of a Moonraker; write for example http://printer.local:7125", config.URL)}
	}
	if config.HTTP == nil || config.Clock == nil {
		return nil, &Error{Code: CodeAddress, Detail: "a Moonraker client needs an HTTP client and a clock"}
	}
	if config.Name == "" {
		config.Name = "robotorq"
	}
	if config.Version == "" {
		config.Version = "1"
	}
	log := config.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Client{config: config, base: strings.TrimRight(config.URL, "/"), log: log}, nil
}

// ServerInfo is what Moonraker says about itself and Klipper.
type ServerInfo struct {
	KlippyConnected bool   `json:"klippy_connected"`
	KlippyState     string `json:"klippy_state"`
	Version         string `json:"moonraker_version"`
}

// PrinterInfo is what Klipper says about itself.
type PrinterInfo struct {
	State    string `json:"state"`
	Message  string `json:"state_message"`
	Hostname string `json:"hostname"`
	Version  string `json:"software_version"`
}

// ServerInfo asks for server.info.
func (c *Client) ServerInfo(ctx context.Context) (info ServerInfo, err error) {
	return info, c.call(ctx, http.MethodGet, "/server/info", nil, &info)
}

// PrinterInfo asks for printer.info.
func (c *Client) PrinterInfo(ctx context.Context) (info PrinterInfo, err error) {
	return info, c.call(ctx, http.MethodGet, "/printer/info", nil, &info)
}

// Objects asks for the names of the printer's objects.
func (c *Client) Objects(ctx context.Context) ([]string, error) {
	var list struct {
		Objects []string `json:"objects"`
	}
	err := c.call(ctx, http.MethodGet, "/printer/objects/list", nil, &list)
	return list.Objects, err
}

// Query asks once for what Watch follows.
func (c *Client) Query(ctx context.Context) (Status, error) {
	var answer statusAnswer
	body, err := json.Marshal(map[string]any{"objects": followed()})
	if err != nil {
		return Status{}, err
	}
	if err := c.call(ctx, http.MethodPost, "/printer/objects/query", body, &answer); err != nil {
		return Status{}, err
	}
	var t tracker
	t.merge(answer.Status)
	return t.status(), nil
}

// Start prints a file that the printer has.
func (c *Client) Start(ctx context.Context, filename string) error {
	body, err := json.Marshal(map[string]string{"filename": filename})
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodPost, "/printer/print/start", body, nil)
}

// Pause pauses the job.
func (c *Client) Pause(ctx context.Context) error { return c.control(ctx, "pause") }

// Resume goes on with a paused job.
func (c *Client) Resume(ctx context.Context) error { return c.control(ctx, "resume") }

// Cancel ends the job.
func (c *Client) Cancel(ctx context.Context) error { return c.control(ctx, "cancel") }

func (c *Client) control(ctx context.Context, what string) error {
	return c.call(ctx, http.MethodPost, "/printer/print/"+what, nil, nil)
}

// OneshotToken asks for a token that opens one connection within seconds.
func (c *Client) OneshotToken(ctx context.Context) (token string, err error) {
	return token, c.call(ctx, http.MethodGet, "/access/oneshot_token", nil, &token)
}

// Upload stores a job file under its name in the gcodes root and, with start,
// prints it. When the upload succeeds but the printer does not start, the
// error has code CodeRefused.
func (c *Client) Upload(ctx context.Context, name string, content io.Reader, start bool) error {
	ctx, cancel := deadline.Within(ctx, c.config.Clock, uploadWithin)
	defer cancel()
	reader, writer := io.Pipe()
	defer func() { _ = reader.Close() }() // ends the goroutine if the request does not read to the end
	form := multipart.NewWriter(writer)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = writer.CloseWithError(fill(form, name, content, start))
	}()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/server/files/upload", reader)
	if err != nil {
		_ = reader.CloseWithError(err)
		<-done
		return &Error{Code: CodeAddress, Detail: "printer " + c.base + " cannot be asked", Err: err}
	}
	request.Header.Set("Content-Type", form.FormDataContentType())
	var answer struct {
		Started bool `json:"print_started"`
	}
	err = c.do(request, &answer)
	_ = reader.Close()
	<-done
	if err == nil && start && !answer.Started {
		err = &Error{Code: CodeRefused, Detail: "printer " + c.base + " stored " + name + " but did not start it"}
	}
	return err
}

// fill writes the upload's form.
func fill(form *multipart.Writer, name string, content io.Reader, start bool) error {
	fields := map[string]string{"root": "gcodes"}
	if dir := path.Dir(name); dir != "." {
		fields["path"] = dir
	}
	if start {
		fields["print"] = "true"
	}
	for field, value := range fields {
		if err := form.WriteField(field, value); err != nil {
			return err
		}
	}
	file, err := form.CreateFormFile("file", path.Base(name))
	if err != nil {
		return err
	}
	if _, err := io.Copy(file, content); err != nil {
		return err
	}
	return form.Close()
}

// call asks and decodes the result into target, unless that is nil.
func (c *Client) call(ctx context.Context, method, path string, body []byte, target any) error {
	ctx, cancel := deadline.Within(ctx, c.config.Clock, answerWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, strings.NewReader(string(body)))
	if err != nil {
		return &Error{Code: CodeAddress, Detail: "printer " + c.base + " cannot be asked", Err: err}
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	var envelope struct {
		Result json.RawMessage `json:"result"`
	}
	if err := c.do(request, &envelope); err != nil || target == nil {
		return err
	}
	if err := json.Unmarshal(envelope.Result, target); err != nil {
		return &Error{Code: CodeAnswer, Detail: "printer " + c.base + " answered " + path + " with something else", Err: err}
	}
	return nil
}

// do sends a request with the key and decodes the whole answer.
func (c *Client) do(request *http.Request, target any) error {
	if c.config.APIKey != "" {
		request.Header.Set("X-Api-Key", c.config.APIKey)
	}
	response, err := c.config.HTTP.Do(request)
	if err != nil {
		return &Error{Code: CodeUnreachable, Detail: "printer " + c.base + " does not answer", Err: err}
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return &Error{Code: CodeUnreachable, Detail: "printer " + c.base + " broke off its answer", Err: err}
	}
	if response.StatusCode >= 300 {
		return c.failure(response.StatusCode, content)
	}
	if err := json.Unmarshal(content, target); err != nil {
		return &Error{Code: CodeAnswer, Detail: "printer " + c.base + " did not answer as Moonraker does", Err: err}
	}
	return nil
}

// failure reads Moonraker's error answer.
func (c *Client) failure(status int, content []byte) error {
	var answer struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	message := http.StatusText(status)
	if json.Unmarshal(content, &answer) == nil && answer.Error.Message != "" {
		message = answer.Error.Message
	}
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden && message == "Forbidden":
		return &Error{Code: CodeUnauthorized, Detail: "printer " + c.base + " wants its API key (Moonraker: " + message + ")"}
	case status >= 500:
		return &Error{Code: CodeUnreachable, Detail: fmt.Sprintf("printer %s cannot answer (%d: %s)", c.base, status, message)}
	}
	return &Error{Code: CodeRefused, Detail: fmt.Sprintf("printer %s refused (%d: %s)", c.base, status, message)}
}

// HasCode reports whether err is or wraps an Error of this code.
func HasCode(err error, code Code) bool {
	var fault *Error
	return errors.As(err, &fault) && fault.Code == code
}
