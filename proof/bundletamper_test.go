package proof_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
)

// resign replaces the payload of an envelope and signs it properly.
func resign(r *prooftest.Reserve, name string, env *seal.Envelope, payload []byte) {
	*env = r.Sign(name, env.PayloadType, payload)
}

// editBatch changes an entry of a batch of the bundle, and the digger signs it.
func editBatch(r *prooftest.Reserve, b *proof.Bundle, edit func(*proof.Batch)) {
	r.T.Helper()
	batch, err := proof.DecodeBatch(b.Batches[1].Payload)
	if err != nil {
		r.T.Fatal(err)
	}
	edit(&batch)
	resign(r, prooftest.Digger, &b.Batches[1], batch.Encode())
}

// With properly signed artefacts of every station a bundle still shows what is
// wrong in them.
func TestABundleShowsWhatItsStationsDidWrong(t *testing.T) {
	r := minted(t)
	const serial = 2
	if _, err := r.Bundle(serial).Verify(options(r)); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		what, rule string
		tamper     func(b *proof.Bundle)
	}{
		{"a digger that overstates ore", "batch_ore", func(b *proof.Bundle) {
			editBatch(r, b, func(x *proof.Batch) { x.Entries[0].Ore++ })
		}},
		{"a digger that understates ore", "batch_ore", func(b *proof.Bundle) {
			editBatch(r, b, func(x *proof.Batch) { x.Entries[0].Ore-- })
		}},
		{"a carry beyond its bounds", "batch_ore", func(b *proof.Bundle) {
			editBatch(r, b, func(x *proof.Batch) { x.Entries[0].Carry = 999_999; x.Entries[0].Ore++ })
		}},
		{"a batch of the wrong reserve", "origin", func(b *proof.Bundle) {
			editBatch(r, b, func(x *proof.Batch) { x.Origin = "other.example/log" })
		}},
		{"a batch sealed before its readings", string(proof.TimeOrder), func(b *proof.Bundle) {
			editBatch(r, b, func(x *proof.Batch) { x.Sealed = prooftest.Genesis + 5_000 })
		}},
		{"a batch sealed after its pour", "time_order", func(b *proof.Bundle) {
			editBatch(r, b, func(x *proof.Batch) { x.Sealed = r.Now + 3_600_000 })
		}},
		{"a void report that became ore", "span_unknown", func(b *proof.Bundle) {
			editBatch(r, b, func(x *proof.Batch) { x.Entries[0].Ore, x.Entries[0].Rule = 0, proof.ReadingOverlap })
		}},
		{"a report without its batch", "batch_reports", func(b *proof.Bundle) { b.Batches = b.Batches[1:] }},
		{"a batch twice", "repeated", func(b *proof.Bundle) { b.Batches = append(b.Batches, b.Batches[0]) }},
		{"a report twice", "repeated", func(b *proof.Bundle) { b.Reports = append(b.Reports, b.Reports[0]) }},
		{"a report missing", "span_unknown", func(b *proof.Bundle) { b.Reports = b.Reports[1:] }},
		{"a contract missing", string(proof.NotAssigned), func(b *proof.Bundle) { b.Contracts = nil }},
		{"an enrolment missing", string(proof.UnknownRobot), func(b *proof.Bundle) { b.Enrolments = b.Enrolments[1:] }},
		{"no charter", "order", func(b *proof.Bundle) { b.Charters, b.Enrolments, b.Contracts = nil, nil, nil }},
		{"an ingot missing", "ingot_count", func(b *proof.Bundle) { b.Ingots = b.Ingots[1:] }},
		{"ingots in another order", "certificate_order", func(b *proof.Bundle) { slices.Reverse(b.Ingots) }},
		{"an ingot twice", "ingot_count", func(b *proof.Bundle) { b.Ingots[1] = b.Ingots[0] }},
		{"a pour missing", "ingot_count", func(b *proof.Bundle) { b.Pours = b.Pours[:len(b.Pours)-1] }},
		{"a pour twice", "ingot_count", func(b *proof.Bundle) { b.Pours = append(b.Pours, b.Pours[0]) }},
		{"another leaf of a pour", "pour_root", func(b *proof.Bundle) {
			for seq := range b.Pours[len(b.Pours)-1].Others {
				b.Pours[len(b.Pours)-1].Others[seq] = merkle.Hash{1}
			}
		}},
		{"a pour of another first ingot", "ingot_seq", func(b *proof.Bundle) { b.Pours[0].First++ }},
		{"an ingot with a leading zero", "ingot_seq", func(b *proof.Bundle) { b.Pours[0].Others["01"] = merkle.Hash{} }},
		{"an ingot of the certificate among the others", "ingot_count", func(b *proof.Bundle) {
			g, err := proof.DecodeIngot(b.Ingots[0])
			if err != nil {
				t.Fatal(err)
			}
			b.Pours[0].Others[strconv.FormatUint(g.Seq, 10)] = merkle.LeafHash(b.Ingots[0])
		}},
		{"another place in the run", "run_certificates", func(b *proof.Bundle) { b.Certificate.Index++ }},
		{"another path to the run", "run_path", func(b *proof.Bundle) { b.Certificate.Path[0][0] ^= 1 }},
		{"a longer path", "run_path", func(b *proof.Bundle) { b.Certificate.Path = append(b.Certificate.Path, merkle.Hash{}) }},
		{"another reserve's log", "origin", func(b *proof.Bundle) { b.Log.Origin = "other.example/log" }},
		{"another checkpoint", "log_checkpoint", func(b *proof.Bundle) { b.Log.Checkpoint += "\n" }},
		{"another index in the log", "log_inclusion", func(b *proof.Bundle) {
			b.Log.Proof = strings.Replace(b.Log.Proof, "index 1", "index ", 1)
		}},
		{"a checkpoint without its Falcon line", "log_checkpoint", func(b *proof.Bundle) {
			lines := strings.SplitAfter(b.Log.Checkpoint, "\n")
			lines = slices.DeleteFunc(lines, func(l string) bool { return len(l) > 500 })
			b.Log.Proof = strings.Replace(b.Log.Proof, b.Log.Checkpoint, strings.Join(lines, ""), 1)
			b.Log.Checkpoint = strings.Join(lines, "")
		}},
		{"work of another contract", "run_path", func(b *proof.Bundle) {
			c, err := proof.DecodeCertificate(b.Certificate.Payload)
			if err != nil {
				t.Fatal(err)
			}
			c.Work = []proof.Work{{Contract: prooftest.Origin + "#9", Ore: 64}}
			b.Certificate.Payload = c.Encode()
		}},
		{"an envelope of another kind", "payload_type", func(b *proof.Bundle) { b.Contracts[0] = b.Enrolments[0] }},
	} {
		b := r.Bundle(serial)
		x.tamper(b)
		_, err := b.Verify(options(r))
		wantFault(t, x.what, err, x.rule)
	}
}

func TestASpanIsCheckedAgainstItsReportAlone(t *testing.T) {
	r, a, _, o := pourable(t)
	good := a.Envelope
	for _, x := range []struct {
		what, rule, contract string
		span                 merkle.Span
	}{
		{"honest", "", a.Report.Contract, span(a, 24, 16)},
		{"another report", "span_unknown", a.Report.Contract, span(o, 24, 16)},
		{"another contract", "span_contract", o.Report.Contract, span(a, 24, 16)},
		{"more than it can hold", "span_bounds", a.Report.Contract, span(a, 26, 16)},
	} {
		err := r.Registry.CheckSpan(good, x.contract, x.span)
		if x.rule == "" && err != nil {
			t.Errorf("%s: %v", x.what, err)
		} else if x.rule != "" {
			wantFault(t, x.what, err, x.rule)
		}
	}
	forged := good
	forged.Signatures = good.Signatures[:1]
	wantFault(t, "a signature missing", r.Registry.CheckSpan(forged, a.Report.Contract, span(a, 0, 16)), string(proof.BadSignature))
}
