package witness

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/merkle"
)

// Timer is the clock of a client: it bounds the waiting.
type Timer interface {
	NewTimer(d time.Duration) (c <-chan time.Time, stop func() bool)
}

// Client asks witnesses. It may be used by several goroutines.
type Client struct {
	HTTP    *http.Client  // nil: http.DefaultClient
	Clock   Timer         // nil: only contexts bound the waiting
	Timeout time.Duration // for one witness, with its retries; 5 s

	mu    sync.Mutex
	sizes map[string]uint64 // what a witness was last known to have cosigned, by its key and the log
}

// Proofs makes the consistency proof from an old size to the checkpoint at hand.
type Proofs func(ctx context.Context, old uint64) ([]merkle.Hash, error)

// LogProofs makes proofs from the tiles of a log directory or a mirror.
func LogProofs(log *archive.Log, c checkpoint.Checkpoint) Proofs {
	hashes := log.Hashes(c.Size, c.Root)
	return func(_ context.Context, old uint64) ([]merkle.Hash, error) {
		return checkpoint.ProveConsistency(old, c.Size, hashes)
	}
}

// Collect asks all witnesses of a policy that have an address to cosign a
// checkpoint of the log, side by side, and returns it with the lines that they
// added, in the order of the policy. It waits for every witness, each as long as
// Timeout. The error has [CodePolicy] when the lines, with those that the
// checkpoint had, do not meet the policy; the checkpoint is returned with what
// there is nevertheless, and the error wraps what each witness said.
//
// An error with [CodeForked] or [CodeBehind] among them means that the witness
// saw another history than the caller's.
func (c *Client) Collect(ctx context.Context, signed []byte, prove Proofs, p Policy) ([]byte, error) {
	r := Request{Signed: signed}
	at, err := r.checkpoint()
	if err != nil {
		return signed, err
	}
	lines, errs := make([][]byte, len(p.Witnesses)), make([]error, len(p.Witnesses))
	var wg sync.WaitGroup
	for i, w := range p.Witnesses {
		if w.URL == "" {
			continue
		}
		wg.Go(func() { lines[i], errs[i] = c.Ask(ctx, w, at, signed, prove) })
	}
	wg.Wait()
	out := signed
	for i, w := range p.Witnesses {
		if lines[i] == nil {
			continue
		}
		longer, err := checkpoint.Attach(out, lines[i], w.v)
		if err != nil {
			errs[i] = &Error{Code: CodeAnswer, Witness: w.Name, Detail: "its cosignature is of no use", Err: err}
			continue
		}
		out = longer
	}
	if err := p.Check(out); err != nil {
		return out, errors.Join(append([]error{err}, errs...)...)
	}
	return out, nil
}

// Ask asks one witness to cosign a checkpoint and returns its signature lines,
// unchecked. It begins with the size that the witness was last known to have, and
// follows the witness when that is another one.
func (c *Client) Ask(ctx context.Context, w Witness, at checkpoint.Checkpoint, signed []byte, prove Proofs) ([]byte, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	key := w.Key + "\n" + at.Origin
	old := min(c.size(key), at.Size)
	for range 4 { // others may move the witness on meanwhile
		var hashes []merkle.Hash
		if old > 0 && old < at.Size {
			var err error
			if hashes, err = prove(ctx, old); err != nil {
				return nil, &Error{Code: CodeProof, Witness: w.Name, Size: old, Detail: "no proof can be made from the size that it has", Err: err}
			}
		}
		lines, err := c.post(ctx, w, Request{Old: old, Proof: hashes, Signed: signed})
		var e *Error
		if err == nil {
			c.remember(key, at.Size)
			return lines, nil
		}
		if !errors.As(err, &e) || e.Code != CodeSize {
			return nil, err
		}
		c.remember(key, e.Size)
		if e.Size > at.Size {
			return nil, &Error{Code: CodeBehind, Witness: w.Name, Size: e.Size, Kept: c.latest(ctx, w, at.Origin), Offered: signed,
				Detail: fmt.Sprintf("it has cosigned %d entries of %q, this checkpoint covers %d: the log shrank, or ours is old", e.Size, at.Origin, at.Size)}
		}
		old = e.Size
	}
	return nil, &Error{Code: CodeAnswer, Witness: w.Name, Detail: "its size changes with every request"}
}

func (c *Client) size(key string) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sizes[key]
}

func (c *Client) remember(key string, size uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sizes == nil {
		c.sizes = map[string]uint64{}
	}
	c.sizes[key] = size
}

// bounded returns a context that ends when the time for a witness is over.
func (c *Client) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := func() { cancel(context.Canceled) }
	if c.Clock == nil {
		return ctx, stop
	}
	d := c.Timeout
	if d <= 0 {
		d = 5 * time.Second
	}
	over, stopTimer := c.Clock.NewTimer(d)
	go func() {
		select {
		case <-over:
			cancel(fmt.Errorf("no answer in %v", d))
		case <-ctx.Done():
		}
		stopTimer()
	}()
	return ctx, stop
}

// What is read of an answer, and what is shown of a refusal: the two checkpoints
// of a conflict are.
const (
	maxAnswer = 64 << 10
	maxSaid   = 8 << 10
)

// latest asks a witness for the checkpoint that it has cosigned last, as
// [Server.Handler] serves it; nil when it does not tell.
func (c *Client) latest(ctx context.Context, w Witness, origin string) []byte {
	sum := sha256.Sum256([]byte(origin))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(w.URL, "/")+"/"+hex.EncodeToString(sum[:])+"/checkpoint", nil)
	if err != nil {
		return nil
	}
	resp, err := c.http().Do(req)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil
	}
	if _, err := checkpoint.Cosignatures(body, w.v); err != nil {
		return nil
	}
	return body
}

func (c *Client) http() *http.Client {
	if c.HTTP != nil {
		return c.HTTP
	}
	return http.DefaultClient
}

func (c *Client) post(ctx context.Context, w Witness, r Request) ([]byte, error) {
	fail := func(code string, size uint64, err error, format string, args ...any) error {
		return &Error{Code: code, Witness: w.Name, Size: size, Detail: fmt.Sprintf(format, args...), Err: err}
	}
	url := strings.TrimSuffix(w.URL, "/") + "/add-checkpoint"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(r.Marshal()))
	if err != nil {
		return nil, fail(CodeReach, 0, err, "its address %q", w.URL)
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	resp, err := c.http().Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, fail(CodeReach, 0, err, "did not answer")
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil || len(body) > maxAnswer {
		return nil, fail(CodeReach, 0, err, "its answer broke off or is over %d bytes", maxAnswer)
	}
	said := strings.TrimSpace(string(body[:min(len(body), maxSaid)]))
	switch resp.StatusCode {
	case http.StatusOK:
		return body, nil
	case http.StatusConflict:
		if resp.Header.Get("Content-Type") == sizeType {
			size, err := strconv.ParseUint(strings.TrimSuffix(string(body), "\n"), 10, 63)
			if err != nil {
				return nil, fail(CodeAnswer, 0, err, "its size cannot be read")
			}
			return nil, fail(CodeSize, size, nil, "its book is at size %d", size)
		}
		return nil, fail(CodeForked, r.Old, nil, "it has cosigned another root at size %d: %s", r.Old, said)
	case http.StatusNotFound:
		return nil, fail(CodeUnknown, 0, nil, "it does not watch this log: %s", said)
	case http.StatusForbidden:
		return nil, fail(CodeForbidden, 0, nil, "it knows no key that signed this checkpoint: %s", said)
	case http.StatusUnprocessableEntity:
		return nil, fail(CodeProof, r.Old, nil, "this checkpoint does not continue the one that it cosigned at size %d: %s", r.Old, said)
	case http.StatusBadRequest:
		return nil, fail(CodeRequest, 0, nil, "it does not understand the request: %s", said)
	}
	return nil, fail(CodeAnswer, 0, nil, "answered %s: %s", resp.Status, said)
}
