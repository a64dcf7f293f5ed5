package proof

import (
	"errors"
	"fmt"

	"robotorq.org/reserve/merkle"
)

// Fault is the first thing that a check found wrong: which artefact, which of
// its digests (zero when it has none) and which rule. Rules are stable,
// lower-case words.
type Fault struct {
	Artefact string      // "certificate 3", "pour refinery-1/7", "enrolment robot-2 v1"
	Digest   merkle.Hash // of the artefact, zero when it could not be read
	Rule     string      // "certificate_root", "signature", …
	Detail   string
	Err      error // cause, such as a *Refusal; may be nil
}

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.Err }

// ErrorCode returns the rule.
func (f *Fault) ErrorCode() string { return f.Rule }

// Error names artefact, digest, rule and detail.
func (f *Fault) Error() string {
	s := f.Artefact
	if f.Digest != (merkle.Hash{}) {
		s += " (" + f.Digest.String() + ")"
	}
	s += ": " + f.Rule
	if f.Detail != "" {
		s += ": " + f.Detail
	}
	return s
}

// fault makes a Fault with a formatted detail.
func fault(artefact string, digest merkle.Hash, rule, format string, args ...any) *Fault {
	return &Fault{Artefact: artefact, Digest: digest, Rule: rule, Detail: fmt.Sprintf(format, args...)}
}

// RefusalCode says why a report is refused. The codes are stable.
type RefusalCode string

// A refused report keeps its seq free; nothing of it enters the chain.
const (
	Malformed    RefusalCode = "malformed"     // payload or envelope breaks the format or its bounds
	UnknownRobot RefusalCode = "unknown_robot" // no enrolment of that id
	WrongDigger  RefusalCode = "wrong_digger"  // enrolled with another digger
	BadSignature RefusalCode = "bad_signature" // not signed by the robot's keys with every required algorithm
	BadLink      RefusalCode = "bad_link"      // not the next of the robot's chain
)

// LinkFault says what is wrong with a report's place in its robot's chain.
type LinkFault string

// Kinds of a bad link.
const (
	LinkReplay LinkFault = "replay" // a seq that the chain has passed
	LinkFork   LinkFault = "fork"   // another predecessor, or another report at the head's seq
	LinkGap    LinkFault = "gap"    // reports before it are missing
)

// Refusal says why a report is not taken into its robot's chain.
type Refusal struct {
	Code   RefusalCode
	Link   LinkFault // for BadLink, else ""
	Detail string
}

// Error prints the code, the kind of a bad link, and the detail.
func (r *Refusal) Error() string {
	s := string(r.Code)
	if r.Link != "" {
		s += " (" + string(r.Link) + ")"
	}
	if r.Detail != "" {
		s += ": " + r.Detail
	}
	return s
}

// ErrorCode returns the code.
func (r *Refusal) ErrorCode() string { return string(r.Code) }

// Authenticated reports whether the refused report is nevertheless known to
// come from the robot's keys. Only such refusals are kept in a quarantine.
func (r *Refusal) Authenticated() bool { return r.Code == BadLink }

func refuse(code RefusalCode, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Detail: fmt.Sprintf(format, args...)}
}

func badLink(kind LinkFault, format string, args ...any) *Refusal {
	return &Refusal{Code: BadLink, Link: kind, Detail: fmt.Sprintf(format, args...)}
}

// FormatError says that bytes are not a payload of the named artefact.
type FormatError struct {
	Artefact string
	Detail   string
	Err      error // the decoder's complaint, if it was one
}

// Error names the artefact and what is wrong with it.
func (e *FormatError) Error() string {
	if e.Err != nil {
		return "malformed " + e.Artefact + ": " + e.Err.Error()
	}
	return "malformed " + e.Artefact + ": " + e.Detail
}

// ErrorCode returns the code of everything that is malformed.
func (e *FormatError) ErrorCode() string { return string(Malformed) }

// Unwrap returns the decoder's complaint.
func (e *FormatError) Unwrap() error { return e.Err }

func malformed(artefact, format string, args ...any) error {
	return &FormatError{Artefact: artefact, Detail: fmt.Sprintf(format, args...)}
}

// AsFault returns the Fault inside err, or nil.
func AsFault(err error) *Fault {
	var f *Fault
	if errors.As(err, &f) {
		return f
	}
	return nil
}
