package audit

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"robotorq.org/reserve/archive"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

func decodeEnvelope(raw []byte) (seal.Envelope, error) {
	if len(raw) == 0 {
		return seal.Envelope{}, errors.New("there is none")
	}
	return seal.DecodeEnvelope(raw)
}

// countPours counts the ingots of contracts that were closed early, in the pours under
// the checkpoint. Records that were pruned are not counted.
func (a *auditor) countPours(ctx context.Context) (err error) {
	a.log.poured = map[uint64]uint64{}
	if len(a.books.closed) == 0 {
		return nil
	}
	packs, err := archive.OpenReader(filepath.Join(a.dir, "packs"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, packs.Close()) }()
	for e, err := range archive.OpenLog(os.DirFS(filepath.Join(a.dir, "log"))).Entries(0, a.sum.Entries) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if e.PayloadType != proof.TypePour {
			continue
		}
		if err := a.countPour(packs, e); err != nil {
			return err
		}
	}
	return nil
}

func (a *auditor) countPour(packs *archive.Reader, e archive.Entry) error {
	records, err := packs.Records(e.Digest)
	if archive.IsCode(err, archive.CodeNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, record := range records {
		g, err := proof.DecodeIngot(record)
		if err != nil {
			return fault("ingot of pour "+e.Digest.String(), "form", "%v", err)
		}
		if _, number, err := proof.ParseContractID(g.Contract); err == nil {
			a.log.poured[number]++
		}
	}
	return nil
}
