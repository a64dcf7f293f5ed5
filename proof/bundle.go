package proof

import (
	"encoding/json"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// Bundle is all that backs one certificate, the document of `proof export`. A
// stranger can check it with a CBOR decoder, SHA-256 and signature libraries.
type Bundle struct {
	Certificate BundleCertificate `json:"certificate"`
	Ingots      []Hex             `json:"ingots"` // records in the order of the certificate's tree
	Pours       []BundlePour      `json:"pours"`
	Batches     []seal.Envelope   `json:"batches"`    // those that contain the reports
	Reports     []seal.Envelope   `json:"reports"`    // those that the spans name
	Contracts   []seal.Envelope   `json:"contracts"`  // those that the ingots name
	Enrolments  []seal.Envelope   `json:"enrolments"` // those that judge the reports
	Charters    []seal.Envelope   `json:"charters"`   // from version 1 on
	Log         BundleLog         `json:"log"`
}

// BundleCertificate is a certificate with its place in its run.
type BundleCertificate struct {
	Payload []byte        `json:"payload"` // base64
	Index   uint64        `json:"index"`   // in the run's tree
	Path    []merkle.Hash `json:"path"`    // from its leaf to the run's root
	Run     seal.Envelope `json:"run"`
}

// BundlePour is a pour of which the certificate has ingots.
type BundlePour struct {
	Envelope seal.Envelope          `json:"envelope"`
	First    uint64                 `json:"first"`  // seq of its first ingot
	Others   map[string]merkle.Hash `json:"others"` // leaf hash by decimal ingot seq, of those not in the certificate
}

// BundleLog proves that the run is logged.
type BundleLog struct {
	Origin     string `json:"origin"`
	Checkpoint string `json:"checkpoint"` // byte for byte the one inside the proof
	Proof      string `json:"proof"`      // C2SP tlog-proof of the run's entry
}

// MarshalJSON writes empty lists as [] and {}.
func (b Bundle) MarshalJSON() ([]byte, error) {
	type plain Bundle
	out := plain(b)
	out.Ingots, out.Pours = list(out.Ingots), list(out.Pours)
	out.Batches, out.Reports, out.Contracts = list(out.Batches), list(out.Reports), list(out.Contracts)
	out.Enrolments, out.Charters = list(out.Enrolments), list(out.Charters)
	return json.Marshal(out)
}

// MarshalJSON writes an empty path as [].
func (c BundleCertificate) MarshalJSON() ([]byte, error) {
	type plain BundleCertificate
	c.Path, c.Payload = list(c.Path), list(c.Payload)
	return json.Marshal(plain(c))
}

// MarshalJSON writes no others as {}.
func (p BundlePour) MarshalJSON() ([]byte, error) {
	type plain BundlePour
	if p.Others == nil {
		p.Others = map[string]merkle.Hash{}
	}
	return json.Marshal(plain(p))
}

func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// DecodeBundle reads the JSON document strictly; the error is a *FormatError.
func DecodeBundle(data []byte) (*Bundle, error) {
	b := new(Bundle)
	if err := decodeDocument("bundle", data, b); err != nil {
		return nil, err
	}
	return b, nil
}

// VerifyOptions say by what a document is verified.
type VerifyOptions struct {
	Profile torq.Profile
	Roots   []merkle.Hash // pins of `--root`; without any, nothing anchors the first charter
	Workers int           // 0: one per core
}

// CertificateSummary is what a bundle or an ore proof proves.
type CertificateSummary struct {
	Origin   string      `json:"origin"`
	Serial   uint64      `json:"serial"`
	Digest   merkle.Hash `json:"digest"`
	Mint     string      `json:"mint"`
	Issued   uint64      `json:"issued_ms"`
	First    uint64      `json:"first_ms"`
	Last     uint64      `json:"last_ms"`
	Ore      uint64      `json:"ore"` // derived again: all of it, or one unit
	Ingots   int         `json:"ingots"`
	Reports  int         `json:"reports"`
	Pinned   bool        `json:"pinned"`
	LogSize  uint64      `json:"log_size"`
	LogIndex uint64      `json:"log_index"`
}

// Verify checks all that one certificate lets anyone check: the charters from the
// pins on, enrolments and contracts, every report's signatures, soundness and
// place, its batch and its carry (where the report before it is not in the bundle
// exactly 0 ≤ ore·10⁶ + carry_out − Σ micro < 10⁶ is accepted), every ingot's root
// derived again from its spans, pours, the certificate's tree, work, times and
// issue, its place in a signed run, and the run's in the log under a checkpoint
// with both signatures.
//
// What a bundle cannot show is left to Replay: closings and policies, reports of
// other certificates, and whether ingots were taken in the order of their pours.
// The error is a *Fault that names the first thing wrong.
func (b *Bundle) Verify(opts VerifyOptions) (CertificateSummary, error) {
	e, f := openEvidence(opts, b.Charters, b.Enrolments, b.Contracts)
	if f == nil {
		f = e.certificate(b.Certificate)
	}
	if f == nil {
		f = e.log(b.Log)
	}
	if f == nil {
		f = e.batches(b.Batches)
	}
	if f == nil {
		f = e.reports(b.Reports)
	}
	if f == nil {
		f = e.pours(b.Pours, b.Ingots)
	}
	if f == nil {
		f = e.tree()
	}
	if f == nil {
		f = e.spans()
	}
	if f == nil {
		f = e.oreRoots()
	}
	if f != nil {
		return CertificateSummary{}, f
	}
	s := e.summary()
	s.Ore, s.Ingots, s.Reports = opts.Profile.CertificateOre(), len(b.Ingots), len(b.Reports)
	return s, nil
}
