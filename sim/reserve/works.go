package reserve

import (
	"fmt"
	"slices"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/torq"
)

// Names in the reserve of a run.
const (
	Origin    = "simulated.invalid/log"
	root      = "root-1"
	digger    = "digger-1"
	refinery  = "refinery-1"
	minter    = "mint-1"
	payer     = "vault-1"
	trust     = "trust-1"
	registrar = "registrar-1"
)

// works is the way of the ore: digger, refinery and mint without their stores and bus.
type works struct {
	profile  torq.Profile
	trees    bool // hash every unit of ore
	signers  map[string]*seal.Signer
	registry *proof.Registry
	digger   *proof.Assay
	refinery *proof.Assay
	spending *proof.Spending
	builder  *proof.IngotBuilder
	pours    *proof.PourBook
	queue    []proof.PouredIngot // fill no certificate yet
	pour     proof.ProducerState
	cert     proof.Link
	heads    map[string]proof.Link // of the robots' chains
}

// newWorks logs a charter with fresh keys.
func newWorks(profile torq.Profile, trees bool, now uint64) (*works, error) {
	k := &works{profile: profile, trees: trees, signers: map[string]*seal.Signer{}, registry: proof.NewRegistry(profile, nil),
		spending: proof.NewSpending(), builder: proof.NewIngotBuilder(profile, refinery, 1), heads: map[string]proof.Link{}}
	k.digger, k.refinery = proof.NewAssay(k.registry, digger), proof.NewAssay(k.registry, "")
	k.pours = proof.NewPourBook(k.registry, k.spending)
	charter := seal.Charter{Name: Origin, Version: 1, IssuedMS: now, Threshold: 1}
	for _, s := range [][2]string{{root, seal.RoleRoot}, {digger, seal.RoleDigger}, {refinery, seal.RoleRefinery}, {minter, seal.RoleMint},
		{payer, seal.RoleVault}, {trust, seal.RoleTrust}, {registrar, seal.RoleRegistrar}, {Origin, seal.RoleLog}} {
		signer, err := seal.NewSigner(s[0], s[1])
		if err != nil {
			return nil, err
		}
		k.signers[s[0]] = signer
		charter.Keys = append(charter.Keys, signer.PublicKeys(now)...)
	}
	env, err := charter.Sign(k.signers[root])
	if err != nil {
		return nil, err
	}
	return k, k.registry.Add(env)
}

// log signs an artefact and enters it into the registry.
func (k *works) log(by, payloadType string, payload []byte) error {
	env, err := k.signers[by].Sign(payloadType, payload)
	if err != nil {
		return err
	}
	return k.registry.Add(env)
}

// enrol enrols a robot.
func (k *works) enrol(id, owner string, watts, tokens, now uint64) error {
	signer, err := seal.NewSigner(id, seal.RoleRobot)
	if err != nil {
		return err
	}
	k.signers[id] = signer
	e := seal.Enrolment{Origin: Origin, ID: id, Version: 1, IssuedMS: now, Keys: signer.PublicKeys(now),
		Robot: &seal.RobotTerms{Owner: owner, Digger: digger, Watts: watts, TokensPerSecond: tokens, Energy: seal.EnergyMetered}}
	payload, err := e.Encode()
	if err != nil {
		return err
	}
	return k.log(registrar, proof.TypeEnrolment, payload)
}

// report is a robot's signed report of a day, next in its chain.
func (k *works) report(robot, contract string, readings []proof.Reading) (seal.Envelope, error) {
	head := k.heads[robot]
	r := proof.Report{Robot: robot, Contract: contract, Seq: head.Seq + 1, Prev: head.Digest, Readings: readings}
	env, err := k.signers[robot].Sign(proof.TypeReport, r.Encode())
	if err == nil {
		k.heads[robot] = proof.Link{Seq: r.Seq, Digest: env.Digest()}
	}
	return env, err
}

// dig has the digger judge reports and the refinery repeat it, and gives the accepted ore
// to the ingots. It returns how many reports count.
func (k *works) dig(reports []seal.Envelope, now uint64) (counted int, err error) {
	for len(reports) > 0 {
		var signed []proof.Signed
		for _, env := range reports {
			s, refusal := k.digger.Authenticate(env)
			if refusal != nil {
				return counted, fmt.Errorf("a report of the run itself is refused: %w", refusal)
			}
			signed = append(signed, s)
		}
		batch, included, rejected, taken, ok := k.digger.Seal(signed, now)
		if !ok || len(rejected) > 0 {
			return counted, fmt.Errorf("the digger rejects %d reports of the run itself", len(rejected))
		}
		reports = reports[taken:]
		message := proof.BatchMessage{}
		if message.Batch, err = k.signers[digger].Sign(proof.TypeBatch, batch.Encode()); err != nil {
			return counted, err
		}
		for _, s := range included {
			message.Reports = append(message.Reports, s.Envelope)
		}
		checked, err := k.refinery.CheckBatch(message, proof.CheckOptions{NowMS: now, Workers: 2})
		if err != nil {
			return counted, err
		}
		for _, a := range checked.Reports {
			k.builder.Add(a.Report.Contract, a.Digest, a.Entry.Ore)
			k.spending.Add(a, checked.Batch.Sealed)
			if !a.Entry.Rule.Void() {
				counted++
			}
		}
	}
	return counted, nil
}

// refine cuts every full ingot, pours them and makes the certificates that they fill.
func (k *works) refine(now uint64) ([]proof.Certificate, error) {
	for {
		ingots := k.builder.Cut(proof.MaxPourIngots)
		if len(ingots) == 0 {
			break
		}
		if k.trees {
			proof.HashIngots(ingots, 2)
		} else {
			for i := range ingots {
				ingots[i].Root = merkle.LeafHash(proof.EncodeSpans(ingots[i].Spans))
			}
		}
		if err := k.cast(ingots, now); err != nil {
			return nil, err
		}
	}
	k.builder.Changed() // and forget it: nothing is stored
	k.spending.Changed()
	k.digger.Changed()
	k.refinery.Changed()
	var made []proof.Certificate
	n := int(k.profile.IngotsPerCertificate)
	for len(k.queue) >= n {
		c, _, err := proof.NewCertificate(k.profile, Origin, minter, k.cert, k.queue[:n], now)
		if err != nil {
			return made, err
		}
		if err := c.CheckWork(k.profile); err != nil {
			return made, err
		}
		k.queue = slices.Clone(k.queue[n:])
		k.cert = proof.Link{Seq: c.Serial, Digest: c.Digest()}
		made = append(made, c)
	}
	return made, nil
}

// cast pours ingots, as many messages as they take.
func (k *works) cast(ingots []proof.Ingot, now uint64) error {
	for len(ingots) > 0 {
		n := proof.FitPour(ingots)
		pour, records, err := proof.NewPour(Origin, refinery, k.pour, ingots[:n], now, now)
		if err != nil {
			return err
		}
		env, err := k.signers[refinery].Sign(proof.TypePour, pour.Encode())
		if err != nil {
			return err
		}
		poured, err := k.pours.Enter(proof.PourMessage{Pour: env, Records: records}, now)
		if err != nil {
			return err
		}
		if k.trees {
			if err := poured.CheckRoots(2, 0, n/2); err != nil {
				return err
			}
		}
		k.queue = append(k.queue, poured.Entries...)
		k.pour = proof.ProducerState{Producer: refinery, Seq: pour.Seq, Digest: env.Digest(), Sealed: pour.Sealed}
		ingots = ingots[n:]
	}
	return nil
}

// close logs that no more ore of a contract is accepted, and drops what fills no ingot.
// Whole ingots must have been cut.
func (k *works) close(contract, reason string, at uint64) error {
	c := proof.Closing{Contract: contract, Closed: at, Reason: reason}
	if err := k.log(trust, proof.TypeClosing, c.Encode()); err != nil {
		return err
	}
	k.builder.Drop(contract)
	return nil
}
