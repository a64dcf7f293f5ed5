package prooftest

import (
	"fmt"
	"slices"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// Source returns a proof.Source over the reserve, with every digger's work at its
// first batch.
func (r *Reserve) Source() proof.Source { return &source{reserve: r, next: map[string]int{}} }

type source struct {
	reserve *Reserve
	next    map[string]int
}

func (s *source) Envelope(payloadType string, digest merkle.Hash) (seal.Envelope, error) {
	env, ok := s.reserve.Envelopes[digest]
	if !ok {
		return seal.Envelope{}, fmt.Errorf("no %s %s", payloadType, digest)
	}
	return env, nil
}

func (s *source) Records(pour merkle.Hash) ([][]byte, error) {
	records, ok := s.reserve.Records[pour]
	if !ok {
		return nil, fmt.Errorf("no records of pour %s", pour)
	}
	return records, nil
}

func (s *source) NextBatch(digger string) (proof.BatchMessage, bool, error) {
	i := s.next[digger]
	if i >= len(s.reserve.Work[digger]) {
		return proof.BatchMessage{}, false, nil
	}
	s.next[digger]++
	return s.reserve.Work[digger][i], true, nil
}

func (s *source) Diggers() ([]string, error) {
	var ids []string
	for id := range s.reserve.Work {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids, nil
}
