package seal_test

import (
	"testing"

	"robotorq.org/reserve/seal"
)

func BenchmarkDecodeEnvelope(b *testing.B) {
	signer := newSigner(b, "robot-1", seal.RoleRobot)
	env := sign(b, signer, string(make([]byte, 600)))
	data, err := env.EncodeCBOR()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := seal.DecodeEnvelope(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyRobot(b *testing.B) {
	signer := newSigner(b, "robot-1", seal.RoleRobot)
	env, keys := sign(b, signer, string(make([]byte, 600))), signer.PublicKeys(0)
	required := seal.RequiredAlgorithms(seal.RoleRobot)
	b.ReportAllocs()
	for b.Loop() {
		if err := seal.VerifyEnvelope(env, keys, required, 0); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSignRobot(b *testing.B) {
	signer := newSigner(b, "robot-1", seal.RoleRobot)
	for b.Loop() {
		if _, err := signer.Sign("application/example", make([]byte, 600)); err != nil {
			b.Fatal(err)
		}
	}
}
