package mirror

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/merkle"
)

// Clock bounds the waiting.
type Clock interface {
	NewTimer(d time.Duration) (c <-chan time.Time, stop func() bool)
}

// Options say what is pulled from where to where. URL, Dir and Clock are needed;
// zero means the default of the others.
type Options struct {
	// URL is the address below which /log/checkpoint and /packs/… are served; the
	// log's own address (ending in /log) is understood as well.
	URL string
	// Dir is the mirror, made if need be. It must not be a reserve's own.
	Dir string
	// Roots pin the charter: seal.KeyHash of roots' SLH-DSA keys. Without any the
	// first charter is taken as it comes.
	Roots []merkle.Hash
	// Accept is a further condition on a signed checkpoint, such as
	// witness.Policy.Check.
	Accept func(signed []byte) error

	// Seen is a signed checkpoint that the caller keeps: the log must continue it,
	// as if this directory had seen it. Nil: none.
	Seen []byte

	HTTP     *http.Client
	Clock    Clock
	Parallel int           // requests at a time; 4
	Stall    time.Duration // how long an answer may stand still; 30 s
	Retries  int           // how often in a row a request may fail; 5
	MaxFile  int64         // largest pack or journal that is taken, in bytes; 4 GiB
	Agent    string        // User-Agent; "robotorq-mirror"

	// Progress is told how far a stage ("packs" in bytes, "log" in entries) is;
	// total is 0 while it is not known. Calls do not overlap.
	Progress func(stage string, done, total uint64)
}

// Result says what a pull came to.
type Result struct {
	Origin     string                `json:"origin"`
	Checkpoint checkpoint.Checkpoint `json:"-"`
	Signed     []byte                `json:"-"`      // the checkpoint's note
	Before     uint64                `json:"before"` // entries before this pull
	Size       uint64                `json:"size"`   // entries now
	Root       merkle.Hash           `json:"root"`
	Packs      int                   `json:"packs"` // sealed packs that came
	Bytes      uint64                `json:"bytes"` // that were read from the server
	Requests   uint64                `json:"requests"`
}

func (o Options) withDefaults() (Options, error) {
	base, err := url.Parse(o.URL)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return o, &Error{Code: CodeOptions, Detail: "the address must begin with http:// or https://, not " + o.URL, Err: err}
	}
	if o.Dir == "" || o.Clock == nil {
		return o, failf(CodeOptions, "", "a pull needs a directory and a clock")
	}
	base.RawQuery, base.Fragment = "", ""
	o.URL = strings.TrimSuffix(strings.TrimSuffix(base.String(), "/"), "/log")
	if o.HTTP == nil {
		o.HTTP = http.DefaultClient
	}
	if o.Parallel <= 0 {
		o.Parallel = 4
	}
	if o.Stall <= 0 {
		o.Stall = 30 * time.Second
	}
	if o.Retries <= 0 {
		o.Retries = 5
	}
	if o.MaxFile <= 0 {
		o.MaxFile = 4 << 30
	}
	if o.Agent == "" {
		o.Agent = "robotorq-mirror"
	}
	return o, nil
}
