package proof_test

import (
	"slices"
	"testing"

	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// The registry is one: a charter moves its digger to another pair, what was signed
// before stays good, and from then on nothing less and nothing else will do.
func TestACharterMovesARoleToAnotherPairOfAlgorithms(t *testing.T) {
	r := prooftest.New(t, torq.Profile{OrePerIngot: 3600, IngotsPerCertificate: 4})
	robot := r.Enrol("robot-1", 350, 10)
	contract := r.Contract(3600*4000, robot)
	r.Now += 1000
	robot.End = r.Now
	r.Dig(robot.Report(contract.ID, robot.Readings(10)))
	r.Pour(100)
	r.Mint()

	pair := []string{seal.Ed25519, seal.MLDSA65}
	r.Now += 5000
	next, err := seal.NewSignerWith(prooftest.Digger, seal.RoleDigger, pair)
	if err != nil {
		t.Fatal(err)
	}
	r.NextCharter(func(c *seal.Charter) {
		c.Algorithms = map[string][]string{seal.RoleDigger: pair}
		c.Keys = append(c.Keys, next.PublicKeys(r.Now)...)
	})
	r.Now += 5000
	robot.End = r.Now
	before := r.Signers[prooftest.Digger]
	report := robot.Report(contract.ID, robot.Readings(10))

	for name, signer := range map[string]*seal.Signer{
		"the former pair":    before,
		"one of the two":     {Name: next.Name, Role: next.Role, Keys: next.Keys[:1]},
		"a third beside it":  {Name: next.Name, Role: next.Role, Keys: append(slices.Clone(next.Keys), before.Keys[0])},
		"the pair in pieces": {Name: next.Name, Role: next.Role, Keys: []*seal.PrivateKey{before.Keys[1], next.Keys[0]}},
	} {
		t.Run(name+" is refused", func(t *testing.T) {
			assay := proof.NewAssay(r.Registry, prooftest.Digger)
			assay.Restore(r.Assay(prooftest.Digger).State())
			signed, refusal := assay.Authenticate(report)
			if refusal != nil {
				t.Fatal(refusal)
			}
			batch, _, _, _, _ := assay.Seal([]proof.Signed{signed}, r.Now)
			env, err := signer.Sign(proof.TypeBatch, batch.Encode())
			if err != nil {
				t.Fatal(err)
			}
			m := proof.BatchMessage{Batch: env, Reports: []seal.Envelope{report}}
			if _, err := r.Refined.CheckBatch(m, proof.CheckOptions{NowMS: r.Now}); proof.AsFault(err) == nil {
				t.Fatalf("it was accepted: %v", err)
			}
		})
	}

	r.Signers[prooftest.Digger] = next
	r.Dig(report)
	r.Pour(100)
	r.Mint()
	if summary, err := r.Verify(r.Pin()); err != nil || summary.Certificates < 2 {
		t.Fatalf("%d certificates: %v", summary.Certificates, err)
	}
}
