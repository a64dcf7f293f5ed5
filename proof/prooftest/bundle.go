package prooftest

import (
	"golang.org/x/mod/sumdb/tlog"

	"robotorq.org/reserve/checkpoint"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"strconv"
)

// Checkpoint returns the log's signed checkpoint over all entries, and the
// inclusion path of one of them.
func (r *Reserve) Checkpoint(index uint64) (signed []byte, path []merkle.Hash) {
	r.T.Helper()
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = stored[x]
		}
		return out, nil
	})
	for i, e := range r.Log {
		entry, err := checkpoint.Entry(e.PayloadType, e.Digest)
		r.must(err)
		hashes, err := tlog.StoredHashes(int64(i), entry, reader)
		r.must(err)
		stored = append(stored, hashes...)
	}
	size := uint64(len(r.Log))
	root, err := tlog.TreeHash(int64(size), reader)
	r.must(err)
	signers, err := checkpoint.Signers(r.Signers[Origin])
	r.must(err)
	signed, err = checkpoint.Sign(checkpoint.Checkpoint{Origin: Origin, Size: size, Root: merkle.Hash(root)}, signers...)
	r.must(err)
	path, err = checkpoint.ProveInclusion(size, index, reader)
	r.must(err)
	return signed, path
}

// Bundle returns the export of a minted certificate.
func (r *Reserve) Bundle(serial uint64) *proof.Bundle {
	r.T.Helper()
	c, facts := r.Certs[serial-1], r.CertOf[serial-1]
	b := &proof.Bundle{Certificate: proof.BundleCertificate{
		Payload: c.Encode(), Index: uint64(facts.Index),
		Path: merkle.Path(proof.RunLeaves(facts.Of), facts.Index), Run: r.Envelopes[facts.Run],
	}}
	in := map[string]bool{} // ingots of the certificate
	for _, g := range facts.Ingots {
		in[g.Refinery+"/"+strconv.FormatUint(g.Seq, 10)] = true
	}
	records := map[string][]byte{}
	reports := map[merkle.Hash]bool{}
	for i, e := range r.Log {
		env := r.Envelopes[e.Digest]
		switch e.PayloadType {
		case proof.TypeCharter:
			b.Charters = append(b.Charters, env)
		case proof.TypeEnrolment:
			b.Enrolments = append(b.Enrolments, env)
		case proof.TypeContract:
			b.Contracts = append(b.Contracts, env)
		case proof.TypePour:
			r.addPour(b, env, in, records, reports)
		case proof.TypeRun:
			if e.Digest == facts.Run {
				signed, path := r.Checkpoint(uint64(i))
				p := checkpoint.Proof{Index: uint64(i), Path: path, Checkpoint: signed}
				b.Log = proof.BundleLog{Origin: Origin, Checkpoint: string(signed), Proof: string(p.Marshal())}
			}
		}
	}
	for _, g := range facts.Ingots {
		b.Ingots = append(b.Ingots, records[g.Refinery+"/"+strconv.FormatUint(g.Seq, 10)])
	}
	r.addWork(b, reports)
	return b
}

func (r *Reserve) addPour(b *proof.Bundle, env seal.Envelope, in map[string]bool, records map[string][]byte, reports map[merkle.Hash]bool) {
	p, err := proof.DecodePour(env.Payload)
	r.must(err)
	half := proof.BundlePour{Envelope: env, First: p.First, Others: map[string]merkle.Hash{}}
	own := 0
	for i, record := range r.Records[env.Digest()] {
		seq := strconv.FormatUint(p.First+uint64(i), 10)
		if key := p.Refinery + "/" + seq; !in[key] {
			half.Others[seq] = merkle.LeafHash(record)
			continue
		} else {
			records[key] = record
		}
		own++
		g, err := proof.DecodeIngot(record)
		r.must(err)
		for _, s := range g.Spans {
			reports[s.Report] = true
		}
	}
	if own > 0 {
		b.Pours = append(b.Pours, half)
	}
}

func (r *Reserve) addWork(b *proof.Bundle, reports map[merkle.Hash]bool) {
	for _, messages := range r.Work {
		for _, m := range messages {
			found := false
			for _, env := range m.Reports {
				if reports[env.Digest()] {
					b.Reports = append(b.Reports, env)
					found = true
				}
			}
			if found {
				b.Batches = append(b.Batches, m.Batch)
			}
		}
	}
}
