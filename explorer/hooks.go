package explorer

import (
	"strings"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/digger"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/mint"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/vault"
)

// This file holds the hooks that the node installs at the stations. Each is called
// after the station has committed; none waits for a station or a disk.

func (e *Explorer) publish(data api.EventData) {
	if e.Feed != nil {
		e.Feed.Publish(data)
	}
}

// Sealed is the hook digger.Options.Sealed.
func (e *Explorer) Sealed(b proof.Batch, reports []proof.Report) {
	e.reports.add(b, reports)
	sealed := api.BatchEvent{Digger: b.Digger, Seq: b.Seq, Reports: uint64(len(b.Entries))}
	for i, entry := range b.Entries {
		r := reports[i]
		sealed.Ore += entry.Ore
		e.chains.add(r.Robot, entry.Report, r.Prev)
		report := api.ReportEvent{
			Robot: r.Robot, Contract: contractNumber(r.Contract), Seq: r.Seq, Digest: entry.Report.String(), Ore: entry.Ore, Rule: string(entry.Rule),
		}
		e.publish(report)
		if entry.Rule.Void() {
			e.publish(api.RefusalEvent{Refusal: api.Refusal{
				Time: int64(b.Sealed), Station: stationDigger, Robot: report.Robot, Contract: report.Contract,
				Seq: report.Seq, Report: report.Digest, Rule: report.Rule, Void: true,
			}})
		}
	}
	e.publish(sealed)
}

// Names of stations in a refusal.
const (
	stationDigger   = "digger"
	stationRefinery = "refinery"
)

// Refused is the hook digger.Options.Refused.
func (e *Explorer) Refused(r digger.Refused) {
	refusal := api.Refusal{
		Time: int64(r.Time), Station: stationDigger, Robot: r.Robot, Contract: contractNumber(r.Contract), Seq: r.Seq,
		Rule: string(r.Refusal.Code), Detail: r.Refusal.Error(),
	}
	if !r.Digest.IsZero() {
		refusal.Report = r.Digest.String()
	}
	e.publish(api.RefusalEvent{Refusal: refusal})
}

// Stopped is the hook refinery.Options.Stopped.
func (e *Explorer) Stopped(digger string, fault *proof.Fault) {
	e.publish(api.RefusalEvent{Refusal: api.Refusal{
		Time: int64(e.now()), Station: stationRefinery, Rule: fault.Rule, Detail: "digger " + digger + " is stopped: " + fault.Error(),
	}})
}

// Poured is the hook mint.Options.Poured.
func (e *Explorer) Poured(p proof.Pour) {
	nudge(e.grown)
	e.publish(api.PourEvent{Refinery: p.Refinery, Seq: p.Seq, First: p.First, Ingots: p.Count})
}

// Minted is the hook mint.Options.Minted.
func (e *Explorer) Minted(m mint.Minted) {
	nudge(e.grown)
	for _, c := range m.Certificates {
		e.publish(api.CertificateEvent{CertificateSummary: e.summary(c, c.Digest().String())})
	}
}

// Posted is the hook vault.Options.Posted.
func (e *Explorer) Posted(p vault.Posted) {
	if e.postings.add(&p) {
		nudge(e.wake)
	}
	e.publish(postingEvent(&p))
	if p.Members > 0 {
		e.publish(api.DividendEvent{Dividend: api.Dividend{
			Posting: p.Seq, Time: int64(p.Time), JT: p.Paid, Members: p.Members, PerMember: p.Each,
		}})
	}
	if notice, ok := e.noticeOf(&p.Posting); ok {
		e.publish(notice)
	}
}

func postingEvent(p *vault.Posted) api.PostingEvent {
	event := api.PostingEvent{Seq: p.Seq, Posting: string(p.Kind)}
	for _, entry := range p.Entries {
		if entry.Amount <= 0 {
			continue
		}
		event.JT += entry.Amount
		if p.Kind == ledger.KindOrder && isWallet(entry.Account) {
			event.Orders++
		}
	}
	return event
}

// isWallet tells whether an account is a member's or an organisation's wallet.
func isWallet(account string) bool {
	return strings.HasPrefix(account, "member:") || strings.HasPrefix(account, "org:")
}

// noticeOf is what a posting says of a person or a contract.
func (e *Explorer) noticeOf(p *ledger.Posting) (api.NoticeEvent, bool) {
	// The key is "<kind>/<whom>" or "<kind>/<whom>/…".
	_, whom, _ := strings.Cut(p.Key, "/")
	whom, rest, _ := strings.Cut(whom, "/")
	contract := func(event string) (api.NoticeEvent, bool) {
		return api.NoticeEvent{Subject: "contract", ID: whom, Event: event}, true
	}
	person := func(event string) (api.NoticeEvent, bool) {
		subject, id, _ := strings.Cut(whom, ":")
		return api.NoticeEvent{Subject: subject, ID: id, Event: event}, true
	}
	switch p.Kind {
	case ledger.KindEnrol:
		return person("enrolled")
	case ledger.KindStatus:
		return person("status changed by version " + rest)
	case ledger.KindAward:
		return contract("awarded")
	case ledger.KindFund:
		return contract("funded")
	case ledger.KindAbandon:
		return contract("cancelled")
	case ledger.KindClose:
		return contract("closing")
	case ledger.KindEnd:
		return contract(e.ending(whom))
	}
	return api.NoticeEvent{}, false
}

// ending is how a contract has ended.
func (e *Explorer) ending(digits string) string {
	event := "ended"
	s := e.stations.Load()
	n, err := number(digits, 0)
	if s == nil || err != nil {
		return event
	}
	s.Vault.With(func(b *ledger.Book, _ *proof.Registry) {
		if c, ok := b.Contract(n); ok {
			event = string(c.Stage)
		}
	})
	return event
}

// summary is a certificate as lists and events show it.
func (e *Explorer) summary(c proof.Certificate, digest string) api.CertificateSummary {
	s := api.CertificateSummary{Serial: c.Serial, Digest: digest, Issued: int64(c.Issued), Work: make([]api.Work, len(c.Work))}
	for i, w := range c.Work {
		n := contractNumber(w.Contract)
		s.Work[i] = api.Work{Contract: n, Enterprise: e.directory.enterpriseOf(n), Ore: w.Ore}
	}
	return s
}
