package proof_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

type vectors struct {
	Reports []struct {
		Robot, Contract, Prev, Payload string
		Seq                            uint64
		Readings                       [][4]uint64
		CarryIn                        uint64 `json:"carry_in"`
		Ore                            uint64
		CarryOut                       uint64 `json:"carry_out"`
		Digest                         merkle.Hash
		LeafFirst                      *merkle.Hash `json:"leaf_first"`
		LeafLast                       *merkle.Hash `json:"leaf_last"`
	}
	BigReport struct {
		Payload string
		Digest  merkle.Hash
		Ore     uint64
	} `json:"big_report"`
	Ingots []struct {
		Root  merkle.Hash
		Spans []proof.SpanJSON
		Proof struct {
			Index uint64
			Leaf  merkle.Hash
			Path  []merkle.Hash
		}
	}
	Certificate struct {
		FirstRecord string `json:"first_record"`
		Root        merkle.Hash
		Proof       struct {
			Index  uint64
			Record string
			Path   []merkle.Hash
		}
	}
	Whole struct {
		Report     merkle.Hash `json:"report_digest"`
		FirstIngot merkle.Hash `json:"first_ingot_root"`
		LastIngot  merkle.Hash `json:"last_ingot_root"`
		Root       merkle.Hash
	} `json:"whole_certificate"`
}

func loadVectors(t *testing.T) vectors {
	t.Helper()
	data, err := os.ReadFile("testdata/proof-chain.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReportsOfTheVectorsDeriveExactly(t *testing.T) {
	v := loadVectors(t)
	var req proof.DeriveRequest
	for i, r := range v.Reports {
		report := proof.Report{Robot: r.Robot, Contract: r.Contract, Seq: r.Seq}
		copy(report.Prev[:], unhex(t, r.Prev))
		for _, m := range r.Readings {
			report.Readings = append(report.Readings, proof.Reading{Start: m[0], End: m[1], Energy: m[2], Tokens: m[3]})
		}
		if got := hex.EncodeToString(report.Encode()); got != r.Payload {
			t.Errorf("report %d encodes to %s, want %s", i, got, r.Payload)
		}
		decoded, err := proof.DecodeReport(unhex(t, r.Payload))
		if err != nil {
			t.Fatalf("report %d: %v", i, err)
		}
		ore, carry, err := decoded.Derive(r.CarryIn)
		if err != nil || ore != r.Ore || carry != r.CarryOut {
			t.Errorf("report %d derives %d carry %d (%v), want %d carry %d", i, ore, carry, err, r.Ore, r.CarryOut)
		}
		req.Reports = append(req.Reports, proof.DeriveInput{Payload: r.Payload, CarryIn: r.CarryIn})
	}
	answer, err := proof.Derive(req)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range v.Reports {
		got := answer.Reports[i]
		if got.Digest != r.Digest || !same(got.LeafFirst, r.LeafFirst) || !same(got.LeafLast, r.LeafLast) {
			t.Errorf("report %d: %+v", i, got)
		}
	}
	big, err := proof.Derive(proof.DeriveRequest{Reports: []proof.DeriveInput{{Payload: v.BigReport.Payload}}})
	if err != nil || big.Reports[0].Ore != v.BigReport.Ore || big.Reports[0].Digest != v.BigReport.Digest {
		t.Errorf("big report: %+v %v", big, err)
	}
}

func same(a, b *merkle.Hash) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

func TestIngotsOfTheVectorsHaveTheirRootsAndPaths(t *testing.T) {
	for i, g := range loadVectors(t).Ingots {
		answer, err := proof.IngotTree(proof.IngotRequest{Spans: g.Spans, Index: g.Proof.Index})
		if err != nil || answer.Root != g.Root || answer.Leaf != g.Proof.Leaf || len(answer.Path) != len(g.Proof.Path) {
			t.Fatalf("ingot %d: %+v %v", i, answer, err)
		}
		for k := range answer.Path {
			if answer.Path[k] != g.Proof.Path[k] {
				t.Errorf("ingot %d: path differs at %d", i, k)
			}
		}
	}
}

func TestRecordsOfTheVectorsEncodeAndStandInTheCertificateTree(t *testing.T) {
	v := loadVectors(t).Certificate
	for _, record := range []string{v.FirstRecord, v.Proof.Record} {
		ingot, err := proof.DecodeIngot(unhex(t, record))
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(ingot.Encode()); got != record {
			t.Errorf("record encodes to %s, want %s", got, record)
		}
	}
	leaf := merkle.LeafHash(unhex(t, v.Proof.Record))
	if err := merkle.Verify(leaf, v.Proof.Index, torq.IngotsPerCertificate, v.Proof.Path, v.Root); err != nil {
		t.Error(err)
	}
}

func TestTheWholeCertificateOfTheVectorsHasItsRoot(t *testing.T) {
	v := loadVectors(t)
	big, err := proof.DecodeReport(unhex(t, v.BigReport.Payload))
	if err != nil {
		t.Fatal(err)
	}
	builder := proof.NewIngotBuilder(torq.Standard(), "refinery-1", 1)
	builder.Add(big.Contract, v.BigReport.Digest, torq.Standard().CertificateOre())
	ingots := builder.Cut(torq.IngotsPerCertificate)
	proof.HashIngots(ingots, 2)
	leaves := make([]merkle.Hash, len(ingots))
	for i, g := range ingots {
		leaves[i] = merkle.LeafHash(g.Encode())
	}
	if first := ingots[0].Root; first != v.Whole.FirstIngot {
		t.Errorf("first ingot root %s", first)
	}
	if last := ingots[len(ingots)-1].Root; last != v.Whole.LastIngot {
		t.Errorf("last ingot root %s", last)
	}
	if root := merkle.Root(leaves); root != v.Whole.Root {
		t.Errorf("certificate root %s, want %s", root, v.Whole.Root)
	}
}

func TestDeriveReadsEveryFormOfAReport(t *testing.T) {
	v := loadVectors(t).Reports[0]
	payload := unhex(t, v.Payload)
	env := seal.Envelope{PayloadType: proof.TypeReport, Payload: payload, Signatures: []seal.Signature{{KeyID: strings.Repeat("0", 16), Sig: []byte{1}}}}
	dsse, err := json.Marshal(env)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := env.EncodeCBOR()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"hex": []byte(v.Payload + "\n"), "cbor": payload, "dsse": dsse, "envelope": packed,
		"request": []byte(`{"reports":[{"payload":"` + v.Payload + `","carry_in":0}]}`),
	} {
		req, err := proof.ReadDeriveFile(data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		answer, err := proof.Derive(req)
		if err != nil || answer.Reports[0].Digest != v.Digest || answer.Reports[0].Ore != v.Ore {
			t.Errorf("%s: %+v %v", name, answer, err)
		}
	}
}

func TestAMalformedPayloadIsNamedByItsIndex(t *testing.T) {
	v := loadVectors(t).Reports[0]
	_, err := proof.Derive(proof.DeriveRequest{Reports: []proof.DeriveInput{{Payload: v.Payload}, {Payload: v.Payload + "00"}}})
	if err == nil || !strings.Contains(err.Error(), "reports[1]") {
		t.Errorf("got %v", err)
	}
}
