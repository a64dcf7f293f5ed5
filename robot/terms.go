package robot

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// TermsFile and StatusFile are the names of what an agent writes down beside
// its spool.
const (
	TermsFile  = "terms.json"
	StatusFile = "status.json"
)

// Terms are what a reserve has told a robot: its enrolment as far as the agent
// needs it, and its work. They are kept so that an agent which is started while
// the reserve is away goes on as it was told.
type Terms struct {
	Robot    string `json:"robot"`
	Origin   string `json:"origin"` // the reserve's name
	Digger   string `json:"digger"`
	Watts    uint64 `json:"watts"`
	Tokens   uint64 `json:"tokens_per_second"`
	Energy   string `json:"energy"`
	Contract string `json:"contract,omitempty"` // "" for none
	// NotBefore and NotAfter bound the work for the contract, Unix ms.
	NotBefore uint64 `json:"not_before_ms,omitempty"`
	NotAfter  uint64 `json:"not_after_ms,omitempty"`
	Told      int64  `json:"told_ms"`           // when the reserve said so, Unix ms
	Version   uint64 `json:"version,omitempty"` // of the enrolment, 0 if it was not told
}

// Rating is what the robot is enrolled for.
func (t Terms) Rating() Rating {
	return Rating{Watts: t.Watts, TokensPerSecond: t.Tokens, Energy: t.Energy}
}

// Assignment is the work.
func (t Terms) Assignment() Assignment {
	return Assignment{Contract: t.Contract, NotBeforeMS: t.NotBefore, NotAfterMS: t.NotAfter}
}

// SameEnrolment tells whether nothing has changed but the work.
func (t Terms) SameEnrolment(u Terms) bool {
	if t.Version != u.Version && t.Version != 0 && u.Version != 0 {
		return false
	}
	return t.Robot == u.Robot && t.Origin == u.Origin && t.Digger == u.Digger && t.Rating() == u.Rating()
}

// ReadTerms reads what the reserve last said to the robot whose directory this
// is; known is false if it has not said anything yet.
func ReadTerms(dir, robot string) (t Terms, known bool, err error) {
	if known, err = readJSON(filepath.Join(dir, TermsFile), &t); err != nil || !known {
		return t, false, err
	}
	if t.Robot != robot {
		return t, false, &Error{Code: CodeConfig, Detail: filepath.Join(dir, TermsFile) + " is of robot " + t.Robot + ", not of " + robot, Hint: "give each robot a directory of its own"}
	}
	return t, true, t.Rating().Check()
}

// Write keeps the terms; they are on disk, whole, when it returns.
func (t Terms) Write(dir string) error { return writeJSON(filepath.Join(dir, TermsFile), t, true) }

// Status is how an agent is, for whoever looks from outside. Times are Unix ms.
type Status struct {
	Robot     string `json:"robot"`
	PID       int    `json:"pid"`
	Started   int64  `json:"started_ms"`
	Written   int64  `json:"written_ms"`
	Ended     int64  `json:"ended_ms,omitempty"` // when the agent ended, 0 while it runs
	Machine   string `json:"machine"`
	Contract  string `json:"contract,omitempty"`
	Reserve   string `json:"reserve"`
	Seq       uint64 `json:"seq"`
	Mark      uint64 `json:"mark"`
	Waiting   uint64 `json:"waiting"`
	LastEnd   uint64 `json:"last_reading_ms,omitempty"`
	Sampled   uint64 `json:"sampled_ms,omitempty"`
	Ore       uint64 `json:"ore"`
	Reports   uint64 `json:"reports"`
	Readings  uint64 `json:"readings"`
	Pending   uint64 `json:"pending_readings"`
	ClippedMJ uint64 `json:"clipped_mj"`
	Clipped   uint64 `json:"clipped_tokens"`
	Dropped   uint64 `json:"dropped_readings"`
	Voided    uint64 `json:"void_reports"`
	Misses    uint64 `json:"meter_misses"`
	Resets    uint64 `json:"meter_resets"`
	Jumps     uint64 `json:"meter_jumps"`
	Steps     uint64 `json:"clock_steps"`
	// Waits is what the agent waits for before it can work, WaitsFor its kind.
	Waits    string `json:"waits,omitempty"`
	WaitsFor string `json:"waits_for,omitempty"`
	// Unpaid: the machine works and no contract counts it; UnpaidMS how long that was.
	Unpaid   bool   `json:"unpaid,omitempty"`
	UnpaidMS uint64 `json:"unpaid_ms"`
	VoidRule string `json:"void_rule,omitempty"` // that the last void report broke
	Meter    string `json:"meter_fault,omitempty"`
	Delivery string `json:"delivery_fault,omitempty"`
	Job      string `json:"job_fault,omitempty"`
	// Refused is why the digger does not take a report that is sent again.
	Refused string `json:"refused,omitempty"`
	// Failure is why the agent stopped, with its code; what to do is part of it.
	Failure string `json:"failure,omitempty"`
	Code    string `json:"failure_code,omitempty"`
}

// StatusOf describes what an agent is and has done; the caller adds what the
// agent does not know.
func StatusOf(id string, s Stats) Status {
	return Status{
		Robot: id, Machine: s.State.String(), Contract: s.Contract, Seq: s.Seq, Mark: s.Mark, Waiting: s.Seq - s.Mark,
		LastEnd: s.LastEnd, Sampled: s.Sampled, Ore: s.Ore, Reports: s.Reports, Readings: s.Readings, Pending: s.Pending,
		ClippedMJ: s.ClippedMJ, Clipped: s.ClippedTokens, Dropped: s.DroppedReading, Voided: s.Voided, Misses: s.Misses,
		Resets: s.MeterResets, Jumps: s.MeterJumps, Steps: s.ClockJumps,
		Unpaid: s.Unpaid, UnpaidMS: s.UnpaidMS, VoidRule: s.VoidRule,
		Meter: text(s.Meter), Delivery: text(s.Delivery), Job: text(s.Job), Refused: text(s.Refused),
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// End books why an agent ended, nil for a graceful stop.
func (s *Status) End(now time.Time, err error) {
	s.Ended, s.Failure = now.UnixMilli(), text(err)
	var coded interface{ ErrorCode() string }
	if errors.As(err, &coded) {
		s.Code = coded.ErrorCode()
	}
}

// ReadStatus reads how the agent of this directory is or was; known is false if
// none has run here.
func ReadStatus(dir string) (s Status, known bool, err error) {
	known, err = readJSON(filepath.Join(dir, StatusFile), &s)
	return s, known, err
}

// Write shows the status. It is not synced: a crash may lose it, and nothing
// depends on it.
func (s Status) Write(dir string) error { return writeJSON(filepath.Join(dir, StatusFile), s, false) }

func readJSON(path string, into any) (known bool, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		return false, &Error{Code: CodeConfig, Detail: path + " cannot be read", Hint: "delete it; it is written again", Err: err}
	}
	return true, nil
}

// writeJSON exchanges a file: a reader sees the old one or the new one.
func writeJSON(path string, v any, durable bool) (err error) {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(append(data, '\n'))
	if err == nil && durable {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
