package api

import "robotorq.org/reserve/torq"

// EventData is what an event carries: one of the *Event types below. The kind
// is the name of the server-sent event.
type EventData interface{ Kind() string }

// ReportEvent: a digger sealed a report in a batch. Rule is empty when it
// counted in full.
type ReportEvent struct {
	Robot    string `json:"robot"`
	Contract uint64 `json:"contract"`
	Seq      uint64 `json:"seq"`
	Digest   string `json:"digest"`
	Ore      uint64 `json:"ore"`
	Rule     string `json:"rule,omitempty"`
}

// FlowEvent sums up the reports and the payments since the last event of its kind:
// for those who watch, and need not hear of each.
type FlowEvent struct {
	Reports uint64       `json:"reports"`
	Void    uint64       `json:"void,omitempty" doc:"Of the reports: those that broke a rule"`
	Ore     uint64       `json:"ore"`
	Robots  uint64       `json:"robots" doc:"How many robots' reports they are"`
	Orders  uint64       `json:"orders,omitempty" doc:"Movements between wallets"`
	Newest  *ReportEvent `json:"newest,omitempty"`
}

// BatchEvent: a digger sealed a batch.
type BatchEvent struct {
	Digger  string `json:"digger"`
	Seq     uint64 `json:"seq"`
	Reports uint64 `json:"reports"`
	Ore     uint64 `json:"ore"`
}

// PourEvent: a refinery sealed a pour.
type PourEvent struct {
	Refinery string `json:"refinery"`
	Seq      uint64 `json:"seq"`
	First    uint64 `json:"first_ingot"`
	Ingots   uint64 `json:"ingots"`
}

// CertificateEvent: the mint signed and logged a certificate.
type CertificateEvent struct {
	CertificateSummary
}

// PostingEvent: the vault committed a posting.
type PostingEvent struct {
	Seq     uint64  `json:"seq"`
	Posting string  `json:"kind" doc:"mint, release, demurrage, order, fund, …"`
	JT      torq.JT `json:"jt" doc:"Sum of its positive movements"`
	Orders  uint64  `json:"orders,omitempty" doc:"Movements between wallets in it"`
}

// DividendEvent: a dividend was paid.
type DividendEvent struct {
	Dividend
}

// RefusalEvent: something was refused or voided.
type RefusalEvent struct {
	Refusal
}

// NoticeEvent: a robot, member, contract or charter changed.
type NoticeEvent struct {
	Subject string `json:"subject" doc:"robot, member, org, contract, charter, policy"`
	ID      string `json:"id"`
	Event   string `json:"event" doc:"enrolled, funded, closing, completed, …"`
}

// The kinds of event.
const (
	KindReport      = "report"
	KindBatch       = "batch"
	KindPour        = "pour"
	KindCertificate = "certificate"
	KindPosting     = "posting"
	KindDividend    = "dividend"
	KindRefusal     = "refusal"
	KindNotice      = "notice"
	// KindFlow is not published: the API sends it to those who ask for it by name, at
	// most four times a second, in the place of reports and postings.
	KindFlow = "flow"
	// KindOverview is not published: the API sends it after a change.
	KindOverview = "overview"
	// KindReset tells a client that events between its last and the next one are
	// no longer kept: read the overview and the lists again.
	KindReset = "reset"
)

// Kind implements [EventData].
func (ReportEvent) Kind() string      { return KindReport }
func (BatchEvent) Kind() string       { return KindBatch }
func (PourEvent) Kind() string        { return KindPour }
func (CertificateEvent) Kind() string { return KindCertificate }
func (PostingEvent) Kind() string     { return KindPosting }
func (DividendEvent) Kind() string    { return KindDividend }
func (RefusalEvent) Kind() string     { return KindRefusal }
func (NoticeEvent) Kind() string      { return KindNotice }

// Kind implements [EventData].
func (FlowEvent) Kind() string { return KindFlow }

// Kind implements [EventData] for the overview that the API sends itself.
func (Overview) Kind() string { return KindOverview }
