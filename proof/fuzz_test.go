package proof_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
)

// encoder is what every payload of this package can do.
type encoder interface{ Encode() []byte }

// examples returns one payload of every kind.
func examples() map[string]encoder {
	h := merkle.Hash{1, 2, 3}
	return map[string]encoder{
		"report": proof.Report{Robot: "robot-1", Contract: "o#1", Seq: 2, Prev: h, Readings: []proof.Reading{{Start: 1, End: 2, Energy: 3, Tokens: 4}}},
		"batch":  proof.Batch{Origin: "o", Digger: "d", Seq: 1, Entries: []proof.Entry{{Report: h, Ore: 5, Carry: 6}, {Report: h, Rule: proof.TooShort}}, Sealed: 7},
		"ingot":  proof.Ingot{Refinery: "r", Seq: 1, Contract: "o#1", Root: h, Spans: []merkle.Span{{Report: h, First: 0, Count: 16}}},
		"pour":   proof.Pour{Origin: "o", Refinery: "r", Seq: 2, Prev: h, First: 3, Count: 4, Root: h, Sealed: 5},
		"certificate": proof.Certificate{Origin: "o", Mint: "m", Serial: 2, Prev: h, Root: h,
			Work: []proof.Work{{Contract: "o#1", Ore: 16}}, First: 1, Last: 2, Issued: 3},
		"run": proof.Run{Origin: "o", Mint: "m", Seq: 2, Prev: h, First: 1, Count: 2, Root: h, Sealed: 3},
		"contract": proof.Contract{ID: "o#1", Enterprise: "e", Owner: "w", Robots: []string{"a", "b"}, Digger: "d", Refinery: "r",
			Work: 3600, Stake: 1800, VaultPart: 900, Release: proof.Release{Name: "uniform", Parameter: 1}, DateToMarket: 2, Funded: 3, Deadline: 4},
		"closing":      proof.Closing{Contract: "o#1", Closed: 5, Reason: "cancelled"},
		"bond":         proof.Bond{Origin: "o", Serial: 1, Face: 2, Root: h, KeyHash: h, Issued: 3},
		"bonding":      proof.Bonding{Origin: "o", Posting: 1, Serial: 2, Face: 3, KeyHash: h, Certificates: []proof.Serials{{First: 4, Last: 5}, {First: 7, Last: 7}}, Issued: 8},
		"redemption":   proof.Redemption{Origin: "o", Serial: 1, Payee: "member:a", Expires: 3},
		"reissue":      proof.Reissue{Origin: "o", Serial: 1, KeyHash: h, Expires: 3},
		"receipt":      proof.Receipt{Origin: "o", Order: [16]byte{9}, Seq: 1, Posting: h, Issued: 3},
		"solvency":     proof.Solvency{Origin: "o", Seq: 1, Root: h, Sum: 2, Wallets: 3, Issued: 4},
		"distribution": proof.Distribution{Origin: "o", Seq: 1, Posting: h, Kind: proof.KindMint, Subject: 1, Amount: 2, Members: 3, Issued: 4},
		"proposal": proof.Proposal{Origin: "o", ID: [16]byte{9}, Enterprise: "e", Owner: "w", Robots: []string{"a", "b"}, Digger: "d", Refinery: "r",
			Work: 3600, Stake: 1800, VaultPart: 900, Release: proof.Release{Name: "uniform", Parameter: 1}, DateToMarket: 2, Created: 3, Deadline: 4},
		"instruction": proof.Instruction{Contract: "o#1", Proposal: h, Action: proof.ActionAward, Reason: "good", Issued: 4},
		"recall":      proof.Recall{Origin: "o", Serial: 1, Certificate: h, Evidence: h, Reason: "an ingot does not derive", Issued: 4},
		"head":        proof.Head{Origin: "o", Seq: 1, Posting: h, Issued: 4},
	}
}

// decodeAny decodes a payload of a kind.
func decodeAny(kind string, b []byte) (encoder, error) {
	switch kind {
	case "report":
		return proof.DecodeReport(b)
	case "batch":
		return proof.DecodeBatch(b)
	case "ingot":
		return proof.DecodeIngot(b)
	case "pour":
		return proof.DecodePour(b)
	case "certificate":
		return proof.DecodeCertificate(b)
	case "run":
		return proof.DecodeRun(b)
	case "contract":
		return proof.DecodeContract(b)
	case "closing":
		return proof.DecodeClosing(b)
	case "bond":
		return proof.DecodeBond(b)
	case "redemption":
		return proof.DecodeRedemption(b)
	case "reissue":
		return proof.DecodeReissue(b)
	case "receipt":
		return proof.DecodeReceipt(b)
	case "solvency":
		return proof.DecodeSolvency(b)
	case "bonding":
		return proof.DecodeBonding(b)
	case "proposal":
		return proof.DecodeProposal(b)
	case "instruction":
		return proof.DecodeInstruction(b)
	case "recall":
		return proof.DecodeRecall(b)
	case "distribution":
		return proof.DecodeDistribution(b)
	}
	return proof.DecodeHead(b)
}

func TestPayloadsThatAreNotDeterministicAreRefused(t *testing.T) {
	for kind, x := range examples() {
		good := x.Encode()
		again, err := decodeAny(kind, good)
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		if !bytes.Equal(again.Encode(), good) {
			t.Errorf("%s does not re-encode to itself", kind)
		}
		long := append([]byte{0x98, good[0] & 0x1f}, good[1:]...) // the outer array with a longer head
		indefinite := append(append([]byte{0x9f}, good[1:]...), 0xff)
		huge := []byte{0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
		text := append(append([]byte{good[0]}, 0x7b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), good[1:]...)
		for what, b := range map[string][]byte{
			"empty": {}, "truncated": good[:len(good)-1], "trailing": append(bytes.Clone(good), 0), "tagged": append([]byte{0xc1}, good...),
			"long head": long, "indefinite": indefinite, "huge array": huge, "huge text": text, "null": {0xf6}, "map": {0xa0},
			"one more element": append(append([]byte{good[0] + 1}, good[1:]...), 0),
		} {
			if _, err := decodeAny(kind, b); err == nil {
				t.Errorf("%s: %s was accepted", kind, what)
			}
		}
	}
}

// FuzzPayloads: whatever is accepted re-encodes to the very bytes.
func FuzzPayloads(f *testing.F) {
	kinds := []string{
		"report", "batch", "ingot", "pour", "certificate", "run", "contract", "closing",
		"bond", "redemption", "reissue", "receipt", "solvency", "distribution", "head",
		"proposal", "instruction", "recall", "bonding",
	}
	all := examples()
	for i, kind := range kinds {
		f.Add(uint8(i), all[kind].Encode())
	}
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		name := kinds[int(kind)%len(kinds)]
		x, err := decodeAny(name, b)
		if err != nil {
			return
		}
		if !bytes.Equal(x.Encode(), b) {
			t.Fatalf("%s accepted %x, encodes %x", name, b, x.Encode())
		}
		if r, ok := x.(proof.Report); ok {
			if ore, carry, err := r.Derive(999_999); err == nil {
				want, rest := derive(r, 999_999)
				if want.Uint64() != ore || rest.Uint64() != carry {
					t.Fatalf("derived %d carry %d, want %s carry %s", ore, carry, want, rest)
				}
			}
		}
	})
}

func FuzzMessages(f *testing.F) {
	env := seal.Envelope{PayloadType: proof.TypeBatch, Payload: []byte{1}, Signatures: []seal.Signature{{KeyID: "0123456789abcdef", Sig: []byte{2}}}}
	batch, err := proof.BatchMessage{Batch: env, Reports: []seal.Envelope{env, env}}.Encode()
	if err != nil {
		f.Fatal(err)
	}
	pour, err := proof.PourMessage{Pour: env, Records: [][]byte{{1}, {2, 3}}}.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(batch)
	f.Add(pour)
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := proof.DecodeBatchMessage(b); err == nil {
			if again, err := m.Encode(); err != nil || !bytes.Equal(again, b) {
				t.Fatalf("batch message %x → %x, %v", b, again, err)
			}
		}
		if m, err := proof.DecodePourMessage(b); err == nil {
			if again, err := m.Encode(); err != nil || !bytes.Equal(again, b) {
				t.Fatalf("pour message %x → %x, %v", b, again, err)
			}
		}
		if m, err := proof.DecodeRunMessage(b); err == nil {
			if again, err := m.Encode(); err != nil || !bytes.Equal(again, b) {
				t.Fatalf("run message %x → %x, %v", b, again, err)
			}
		}
		if spans, err := proof.DecodeSpans(b); err == nil && !bytes.Equal(proof.EncodeSpans(spans), b) {
			t.Fatalf("spans %x", b)
		}
	})
}

func FuzzDocuments(f *testing.F) {
	empty, err := json.Marshal(proof.Bundle{Certificate: proof.BundleCertificate{Run: seal.Envelope{PayloadType: "x"}}})
	if err != nil {
		f.Fatal(err)
	}
	unit, err := json.Marshal(proof.OreProof{
		Report: seal.Envelope{PayloadType: "x"}, Batch: seal.Envelope{PayloadType: "x"}, Contract: seal.Envelope{PayloadType: "x"},
		Pour: proof.OrePour{Envelope: seal.Envelope{PayloadType: "x"}}, Certificate: proof.BundleCertificate{Run: seal.Envelope{PayloadType: "x"}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(empty)
	f.Add(unit)
	f.Add([]byte(`{"reports":[{"payload":"80","carry_in":1}]}`))
	f.Add([]byte(`{"spans":[["` + merkle.Hash{}.String() + `",0,16]],"index":3}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if bundle, err := proof.DecodeBundle(b); err == nil {
			if _, err := bundle.Verify(proof.VerifyOptions{Profile: prooftest.Tiny(), Workers: 1}); err == nil {
				t.Fatal("a bundle made of noise verifies")
			}
		}
		if unit, err := proof.DecodeOreProof(b); err == nil {
			if _, err := unit.Verify(proof.VerifyOptions{Profile: prooftest.Tiny(), Workers: 1}); err == nil {
				t.Fatal("an ore proof made of noise verifies")
			}
		}
		if req, err := proof.ReadDeriveFile(b); err == nil {
			_, _ = proof.Derive(req)
		}
		if req, err := proof.ReadIngotFile(b); err == nil {
			var total uint64
			for _, s := range req.Spans {
				total += min(s.Count, 1<<20)
			}
			if total < 1<<12 {
				_, _ = proof.IngotTree(req)
			}
		}
	})
}
