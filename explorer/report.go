package explorer

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// maxSamples bounds the readings that are shown with a report.
const maxSamples = 240

// reportEnvelope reads a report as it was signed.
func (e *Explorer) reportEnvelope(digest string) (seal.Envelope, proof.Report, merkle.Hash, error) {
	hash, err := merkle.ParseHash(digest)
	if err != nil {
		return seal.Envelope{}, proof.Report{}, hash, api.NotFound("report", digest)
	}
	env, err := e.Shelf.Envelope(archive.Work, hash)
	if archive.IsCode(err, archive.CodeNotFound) {
		return env, proof.Report{}, hash, api.Errorf(api.CodeNotFound, "Report %s is not kept here: there is none, the log does not cover it yet, or the retention level has pruned it.", digest)
	}
	if err != nil {
		return env, proof.Report{}, hash, err
	}
	if env.PayloadType != proof.TypeReport {
		return env, proof.Report{}, hash, api.NotFound("report", digest)
	}
	r, err := proof.DecodeReport(env.Payload)
	return env, r, hash, err
}

// Report implements [api.Records].
func (e *Explorer) Report(_ context.Context, digest string) (api.Report, error) {
	s, err := e.attached()
	if err != nil {
		return api.Report{}, err
	}
	env, r, hash, err := e.reportEnvelope(digest)
	if err != nil {
		return api.Report{}, err
	}
	batch, b, err := e.Shelf.BatchOf(hash)
	if err != nil {
		return api.Report{}, pruned(err)
	}
	n := contractNumber(r.Contract)
	shown := api.Report{
		Digest: digest, PayloadType: env.PayloadType, Robot: r.Robot, Contract: n, ContractID: r.Contract, Enterprise: e.directory.enterpriseOf(n), Seq: r.Seq,
		Start: int64(r.Start()), End: int64(r.End()), Readings: uint64(len(r.Readings)), Bytes: uint64(len(env.Payload)), Samples: sampled(r.Readings),
	}
	if r.Seq > 1 {
		shown.Previous = r.Prev.String()
	}
	for _, m := range r.Readings {
		shown.Active += int64(m.Duration())
		shown.Energy += m.Energy
		shown.Tokens += m.Tokens
	}
	counted := entryIn(b, hash)
	shown.Ore, shown.Carry, shown.Rule = counted.Ore, counted.Carry, string(counted.Rule)
	shown.Batch = api.ReportBatch{Digger: b.Digger, Seq: b.Seq, Digest: batch.Digest().String(), Sealed: int64(b.Sealed), Reports: uint64(len(b.Entries))}
	var robot, digger []seal.Key
	s.Trust.With(func(known *proof.Registry) {
		if enrolment, ok := known.Robot(r.Robot, r.Start()); ok {
			t := enrolment.Robot
			shown.Meter, shown.Watts, shown.TokenRate, shown.Version = t.Energy, t.Watts, t.TokensPerSecond, enrolment.Version
			robot = enrolment.Keys
		}
		digger = known.Keys(seal.RoleDigger, b.Digger, b.Sealed)
	})
	var byRobot, byDigger error
	shown.Signatures, byRobot = signatures(env, robot, seal.RoleRobot, r.End())
	shown.Batch.Signatures, byDigger = signatures(batch, digger, seal.RoleDigger, b.Sealed)
	if err := cmp.Or(byRobot, byDigger, derives(r, counted)); err != nil {
		shown.Fault = err.Error()
	}
	shown.Checked = shown.Fault == ""
	return shown, nil
}

// entryIn is what a batch says of a report.
func entryIn(b proof.Batch, report merkle.Hash) proof.Entry {
	for _, entry := range b.Entries {
		if entry.Report == report {
			return entry
		}
	}
	return proof.Entry{}
}

// signatures shows the signatures of an envelope and says what is wrong with them.
func signatures(env seal.Envelope, keys []seal.Key, role string, at uint64) (list []api.Signature, err error) {
	message := seal.PAE(env.PayloadType, env.Payload)
	for _, s := range env.Signatures {
		shown := api.Signature{KeyID: s.KeyID}
		for _, k := range keys {
			if k.KeyID != s.KeyID {
				continue
			}
			alg, known := seal.Lookup(k.Alg)
			shown.Name, shown.Alg = k.Name, k.Alg
			shown.Good = known && k.ValidAt(at) && alg.Verify(k.Public, message, s.Sig)
		}
		list = append(list, shown)
	}
	return list, seal.VerifyEnvelope(env, keys, seal.RequiredAlgorithms(role), at)
}

// derives tells whether the readings can give what the batch says of them, whatever
// was carried in.
func derives(r proof.Report, counted proof.Entry) error {
	least, _, err := r.Derive(0)
	if err != nil {
		return err
	}
	switch {
	case counted.Rule == "" && (counted.Ore < least || counted.Ore > least+1):
		return fmt.Errorf("the batch counts %d ore, the readings give %d", counted.Ore, least)
	case counted.Ore > least+1:
		return fmt.Errorf("the batch counts %d ore under rule %s, the readings give no more than %d", counted.Ore, counted.Rule, least)
	}
	return nil
}

// sampled puts neighbours together until there are few enough readings.
func sampled(readings []proof.Reading) []api.Reading {
	each := (len(readings) + maxSamples - 1) / maxSamples
	list := make([]api.Reading, 0, len(readings)/max(each, 1)+1)
	for i, m := range readings {
		shown := readingOf(m)
		if i%each == 0 {
			list = append(list, shown)
			continue
		}
		last := &list[len(list)-1]
		last.End = shown.End
		last.Active += shown.Active
		last.Energy += shown.Energy
		last.Tokens += shown.Tokens
	}
	return list
}

func readingOf(m proof.Reading) api.Reading {
	return api.Reading{Start: int64(m.Start), End: int64(m.End), Active: int64(m.Duration()), Energy: m.Energy, Tokens: m.Tokens}
}

// Readings implements [api.Records].
func (e *Explorer) Readings(_ context.Context, digest string, page api.Page) (list api.List[api.Reading], err error) {
	if _, err := e.attached(); err != nil {
		return list, err
	}
	_, r, _, err := e.reportEnvelope(digest)
	if err != nil {
		return list, err
	}
	from, err := number(page.Cursor, 0)
	if err != nil || from >= uint64(len(r.Readings)) {
		return list, cmp.Or(err, badCursor())
	}
	n := limit(page)
	rest := r.Readings[from:]
	list.Items = make([]api.Reading, 0, n)
	for _, m := range rest[:min(n, len(rest))] {
		list.Items = append(list.Items, readingOf(m))
	}
	if len(rest) > n {
		list.Next = decimal(from + uint64(n))
	}
	return list, nil
}

// ReportFile implements [api.Records].
func (e *Explorer) ReportFile(_ context.Context, digest string) ([]byte, error) {
	if _, err := e.attached(); err != nil {
		return nil, err
	}
	env, _, _, err := e.reportEnvelope(digest)
	if err != nil {
		return nil, err
	}
	return json.Marshal(env)
}
