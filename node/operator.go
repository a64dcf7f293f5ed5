package node

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/backup"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// operations is what the operator is told of the node. Everything is read when it is
// asked for, but the size of the data directory.
type operations struct{ n *Node }

var _ api.Operations = operations{}

// How much of lists is told.
const (
	latestRefusals = 200 // that are looked through
	ofEachRule     = 3
	mostTokens     = 200
	mostRobotKeys  = 50
)

// Operator implements [api.Operations].
func (p operations) Operator(ctx context.Context) (api.Operator, error) {
	n := p.n
	o := api.Operator{
		Now: n.clock.Now().UnixMilli(), Version: n.cfg.Version, Origin: n.identity.Origin, Demo: n.cfg.Demo, RootHere: n.ring.Root != nil, Started: n.started.UnixMilli(), Data: absolute(n.cfg.Data),
		Stopped: p.stopped(), Outboxes: p.outboxes(), Witnesses: p.witnesses(), Addresses: p.addresses(),
	}
	for _, gather := range []func(context.Context, *api.Operator) error{p.charter, p.flow, p.refusals, p.robotKeys, p.tls, p.backups, p.disk, p.latencies, p.solvency, p.tokens} {
		if err := gather(ctx, &o); err != nil {
			return o, err
		}
	}
	slices.SortStableFunc(o.Keys, soonestFirst)
	notReady := n.notReady(ctx)
	o.Ready = notReady == nil
	o.Findings = findings(&o, notReady)
	return o, nil
}

// absolute is a path that is right in another directory too.
func absolute(path string) string {
	if whole, err := filepath.Abs(path); err == nil {
		return whole
	}
	return path
}

func (p operations) addresses() []api.OperatorAddress {
	n := p.n
	all := []api.OperatorAddress{{For: "page", Address: n.page, TLS: n.cfg.TLS != Certificate{}}}
	for _, host := range n.cfg.Hosts {
		all = append(all, api.OperatorAddress{For: "page, by name", Address: host, TLS: n.cfg.TLS != Certificate{}})
	}
	if n.cfg.NATS != "" {
		all = append(all, api.OperatorAddress{For: "robots (NATS)", Address: n.cfg.NATS, TLS: n.cfg.NATSTLS != Certificate{}})
	}
	return all
}

func (p operations) stopped() (all []api.StoppedProducer) {
	p.n.stopped.Range(func(producer, err any) bool {
		all = append(all, api.StoppedProducer{Producer: producer.(string), Rule: ruleOf(err.(error)), Detail: err.(error).Error()})
		return true
	})
	slices.SortFunc(all, func(a, b api.StoppedProducer) int { return cmp.Compare(a.Producer, b.Producer) })
	return all
}

func (p operations) outboxes() []api.Outbox {
	var all []api.Outbox
	for _, box := range p.n.boxes {
		s := box.Stats()
		out := api.Outbox{Producer: box.Producer(), Head: s.Head, Sent: s.Sent, Depth: s.Depth, Resent: s.Resent}
		for _, c := range s.Consumers {
			link := api.Link{Consumer: c.Consumer, Mark: c.Mark, Lag: c.Lag}
			if c.Refusal.Code != "" {
				link.Refusal = strings.TrimSuffix(fmt.Sprintf("message %d, %s: %s", c.Refusal.Seq, c.Refusal.Code, c.Refusal.Detail), ": ")
			}
			out.Links = append(out.Links, link)
		}
		all = append(all, out)
	}
	return all
}

func (p operations) witnesses() api.Witnesses {
	w := api.Witnesses{Required: p.n.cfg.Witnesses.Required}
	for _, s := range p.n.prooflog.Witnesses() {
		state := api.WitnessState{Name: s.Name, URL: s.URL, Cosigned: s.Cosigned, Failed: s.Failed, State: "waiting"}
		switch {
		case s.Contradicts:
			state.State = "contradicts"
		case s.Err != nil:
			state.State = "behind"
		case s.Cosigned > 0:
			state.State = "cosigned"
		}
		if s.Err != nil {
			state.LastFailure, _, _ = strings.Cut(s.Err.Error(), "\n")
		}
		w.List = append(w.List, state)
	}
	return w
}

// charter tells the keys of the stations, and when the reserve was founded.
func (p operations) charter(_ context.Context, o *api.Operator) error {
	p.n.trust.With(func(r *proof.Registry) {
		versions := r.Charters()
		if len(versions) == 0 {
			return
		}
		o.Founded = int64(versions[0].IssuedMS)
		for _, k := range versions[len(versions)-1].Keys {
			o.Keys = append(o.Keys, keyOf(k, o.Now))
		}
	})
	return nil
}

func keyOf(k seal.Key, now int64) api.OperatorKey {
	key := api.OperatorKey{Name: k.Name, Role: k.Role, Alg: k.Alg, ID: k.KeyID}
	if k.NotAfterMS != nil {
		key.Ends, key.Left = int64(*k.NotAfterMS), int64(*k.NotAfterMS)-now
	}
	return key
}

// robotKeys tells those that end soon: of many robots only they need somebody.
func (p operations) robotKeys(_ context.Context, o *api.Operator) error {
	var soon []api.OperatorKey
	p.n.trust.With(func(r *proof.Registry) {
		for _, id := range r.Robots() {
			e, ok := r.Robot(id, uint64(o.Now))
			if !ok {
				continue
			}
			for _, k := range e.Keys {
				if key := keyOf(k, o.Now); key.Ends != 0 && key.Left < keySoon.Milliseconds() {
					soon = append(soon, key)
				}
			}
		}
	})
	slices.SortStableFunc(soon, soonestFirst)
	o.Keys = append(o.Keys, soon[:min(len(soon), mostRobotKeys)]...)
	return nil
}

func soonestFirst(a, b api.OperatorKey) int {
	if (a.Ends == 0) != (b.Ends == 0) {
		if a.Ends == 0 {
			return 1
		}
		return -1
	}
	return cmp.Compare(a.Ends, b.Ends)
}

// tls tells when the certificates end that the node shows.
func (p operations) tls(_ context.Context, o *api.Operator) error {
	for what, files := range map[string]Certificate{"page": p.n.cfg.TLS, "robots": p.n.cfg.NATSTLS} {
		config, err := files.config()
		if err != nil || config == nil {
			continue // what cannot be read now leaves the former standing; the log tells
		}
		pair, err := config.GetCertificate(nil)
		if err != nil || len(pair.Certificate) == 0 {
			continue
		}
		leaf, err := x509.ParseCertificate(pair.Certificate[0])
		if err != nil {
			continue
		}
		ends := leaf.NotAfter.UnixMilli()
		o.Keys = append(o.Keys, api.OperatorKey{Name: what + ", " + files.Cert, Role: "tls", Alg: leaf.PublicKeyAlgorithm.String(), Ends: ends, Left: ends - o.Now})
	}
	return nil
}

// flow tells what waits inside the stations.
func (p operations) flow(ctx context.Context, o *api.Operator) error {
	v, err := p.n.face.server.Overview(ctx)
	if err != nil {
		return err
	}
	for _, rule := range v.Refusals {
		o.Refusals = append(o.Refusals, api.RuleRefusals{Rule: rule.Rule, Count: rule.Count})
	}
	o.Queues = []api.Queue{
		{Station: "digger", What: "reports that wait for their batch", Depth: v.Digger.Pending},
		{Station: "refinery", What: "ore that waits for the rest of its ingot", Depth: v.Refinery.OpenOre},
		{Station: "mint", What: "ingots that wait for a certificate", Depth: v.Mint.WaitingIngots},
	}
	return nil
}

// refusals gives each rule the latest that broke it, as far as they are among the latest
// of all.
func (p operations) refusals(ctx context.Context, o *api.Operator) error {
	list, err := p.n.face.explorer.Refusals(ctx, api.Page{Limit: latestRefusals})
	if err != nil {
		return err
	}
	for _, r := range list.Items {
		for i := range o.Refusals {
			if rule := &o.Refusals[i]; rule.Rule == r.Rule && len(rule.Latest) < ofEachRule {
				rule.Latest = append(rule.Latest, r)
			}
		}
	}
	return nil
}

func (p operations) backups(_ context.Context, o *api.Operator) error {
	records, err := backup.Records(p.n.cfg.Data)
	var damaged *backup.Error
	if errors.As(err, &damaged) {
		p.n.log.Warn("the record of backups cannot be read", "err", err)
		return nil
	}
	for _, r := range records {
		o.Backups = append(o.Backups, api.BackupRecord{Taken: int64(r.Taken), To: r.To, Files: uint64(r.Files), Bytes: uint64(r.Bytes), LogSize: r.Log, Root: r.Root})
	}
	return err
}

func (p operations) disk(_ context.Context, o *api.Operator) (err error) {
	var founded time.Time
	if o.Founded > 0 {
		founded = time.UnixMilli(o.Founded)
	}
	o.Disk, err = p.n.face.growth.disk(founded)
	return err
}

// timed are the histograms that the operator is told of, by the end of their name.
var timed = []struct{ suffix, what, label string }{
	{"_commit_seconds", "commit", ""}, {"_verify_seconds", "verify", ""}, {"web_request_duration_seconds", "request", "area"},
}

// latencies reads the histograms that Prometheus gets.
func (p operations) latencies(_ context.Context, o *api.Operator) error {
	families, err := p.n.face.meters.Gather()
	if err != nil {
		return err
	}
	for _, family := range families {
		name := strings.TrimPrefix(family.GetName(), "robotorq_")
		for _, kind := range timed {
			if !strings.HasSuffix(name, kind.suffix) {
				continue
			}
			byPlace := map[string]*distribution{}
			for _, m := range family.GetMetric() {
				where := strings.TrimSuffix(name, kind.suffix)
				for _, label := range m.GetLabel() {
					if label.GetName() == kind.label {
						where = label.GetValue()
					}
				}
				if byPlace[where] == nil {
					byPlace[where] = new(distribution)
				}
				h := m.GetHistogram()
				d := byPlace[where]
				d.count, d.sum = d.count+h.GetSampleCount(), d.sum+h.GetSampleSum()
				for i, b := range h.GetBucket() {
					d.add(i, b.GetUpperBound(), b.GetCumulativeCount())
				}
			}
			for where, d := range byPlace {
				if d.count > 0 {
					o.Latencies = append(o.Latencies, d.latency(kind.what, where))
				}
			}
		}
	}
	slices.SortFunc(o.Latencies, func(a, b api.Latency) int { return cmp.Or(cmp.Compare(a.What, b.What), cmp.Compare(a.Where, b.Where)) })
	return nil
}

// distribution is one histogram, or several with the same buckets.
type distribution struct {
	count  uint64
	sum    float64 // seconds
	bounds []float64
	below  []uint64 // cumulative
}

func (d *distribution) add(i int, bound float64, below uint64) {
	if i == len(d.bounds) {
		d.bounds, d.below = append(d.bounds, bound), append(d.below, 0)
	}
	d.below[i] += below
}

// at is the bound below which a share of all lies, in microseconds; -1 beyond the last.
func (d *distribution) at(percent uint64) int64 {
	for i, below := range d.below {
		if below*100 >= d.count*percent {
			return micros(d.bounds[i])
		}
	}
	return -1
}

func (d *distribution) latency(what, where string) api.Latency {
	return api.Latency{What: what, Where: where, Count: d.count, Mean: uint64(micros(d.sum / float64(d.count))), Median: d.at(50), P99: d.at(99)}
}

func micros(seconds float64) int64 { return int64(seconds*1e6 + 0.5) }

// solvency tells the newest statement and head; there may be none yet.
func (p operations) solvency(ctx context.Context, o *api.Operator) error {
	r, err := p.n.face.explorer.Reserve(ctx)
	if err != nil {
		return err
	}
	o.Solvency.Supply, o.Solvency.Backed = r.Supply, backing(r.Certificates, p.n.profile.CertificateOre())
	s, err := p.n.face.explorer.Solvency(ctx)
	if err != nil && api.CodeOf(err) != api.CodeNoStatement {
		return err
	}
	if err == nil {
		o.Solvency.Issued, o.Solvency.Posting, o.Solvency.Sum, o.Solvency.Wallets, o.Solvency.Entry = s.Issued, s.Posting, s.Sum, s.Wallets, s.Entry
	}
	head, err := p.n.face.explorer.Head(ctx)
	if err == nil {
		o.Solvency.Head = head.Issued
	} else if api.CodeOf(err) == api.CodeNoStatement {
		err = nil
	}
	return err
}

func (p operations) tokens(ctx context.Context, o *api.Operator) error {
	all, err := p.n.face.explorer.Tokens(ctx)
	if err != nil {
		return err
	}
	for _, t := range all {
		token := api.OperatorToken{Name: t.Name, Role: t.Role, State: "valid", Created: int64(t.Created), Expires: int64(t.Expires), Revoked: int64(t.Revoked)}
		switch {
		case t.Revoked > 0:
			token.State = "revoked"
		case int64(t.Expires) <= o.Now:
			token.State = "expired"
		}
		o.Tokens = append(o.Tokens, token)
	}
	ended := func(t api.OperatorToken) int64 {
		switch t.State {
		case "valid":
			return 0
		case "revoked":
			return t.Revoked
		}
		return t.Expires
	}
	slices.SortStableFunc(o.Tokens, func(a, b api.OperatorToken) int {
		if (a.State == "valid") != (b.State == "valid") {
			if a.State == "valid" {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(ended(b), ended(a)), cmp.Compare(a.Name, b.Name))
	})
	o.Tokens = o.Tokens[:min(len(o.Tokens), mostTokens)]
	return nil
}
