package archive

import (
	"fmt"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// words are the entries of what the vault says from time to time; of each kind the
// newest are looked for.
type words struct {
	statements []uint64 // of solvency
	head       uint64   // entry + 1 of the newest head; 0 while there is none
}

func (w *words) enter(e Entry) {
	switch e.PayloadType {
	case proof.TypeSolvency:
		w.statements = append(w.statements, e.Index)
	case proof.TypeHead:
		w.head = e.Index + 1
	}
}

// Logged is an artefact in the log with what proves to a stranger that it is there.
type Logged struct {
	Envelope seal.Envelope
	Digest   merkle.Hash
	Entry    uint64
	Log      proof.BundleLog
}

// Logged returns the artefact of an entry. The error has CodeNotFound when the log was
// not scanned so far; call Refresh.
func (x *Index) Logged(entry uint64) (Logged, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.logged(entry)
}

func (x *Index) logged(entry uint64) (l Logged, err error) {
	if entry >= x.scanned {
		return l, &Error{Code: CodeNotFound, Detail: fmt.Sprintf("entry %d is not published; the log has %d", entry, x.scanned)}
	}
	l.Entry = entry
	if l.Envelope, l.Digest, err = x.envelope(entry); err == nil {
		l.Log, err = x.logProof(entry)
	}
	return l, err
}

// Statement returns the newest statement of solvency that is of a posting or an
// earlier one; with 0 the newest of all. The error has CodeNotFound when there is none.
func (x *Index) Statement(posting uint64) (Logged, proof.Solvency, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := len(x.words.statements) - 1; i >= 0; i-- {
		l, err := x.logged(x.words.statements[i])
		if err != nil {
			return l, proof.Solvency{}, err
		}
		s, err := proof.DecodeSolvency(l.Envelope.Payload)
		if err != nil || posting == 0 || s.Seq <= posting {
			return l, s, err
		}
	}
	return Logged{}, proof.Solvency{}, &Error{Code: CodeNotFound, Detail: "no statement of solvency is logged yet"}
}

// Head returns the newest head of the postings. The error has CodeNotFound when there
// is none.
func (x *Index) Head() (Logged, proof.Head, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.words.head == 0 {
		return Logged{}, proof.Head{}, &Error{Code: CodeNotFound, Detail: "no head of the postings is logged yet"}
	}
	l, err := x.logged(x.words.head - 1)
	if err != nil {
		return l, proof.Head{}, err
	}
	h, err := proof.DecodeHead(l.Envelope.Payload)
	return l, h, err
}

// Charters returns every logged charter, from version 1 on.
func (x *Index) Charters() ([]seal.Envelope, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.envelopes(x.charters)
}
