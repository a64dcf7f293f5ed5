package wallet

import (
	"fmt"

	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// Distribution checks that what a posting gave out is signed by the vault and is in the
// log. The error is a *proof.Fault.
func (a *Anchor) Distribution(env seal.Envelope, log proof.BundleLog) (proof.Distribution, error) {
	digest := env.Digest()
	d, err := proof.DecodeDistribution(env.Payload)
	if err != nil || env.PayloadType != proof.TypeDistribution {
		return d, faultf("distribution", digest, "form", "it is no distribution: %v", err)
	}
	name := fmt.Sprintf("distribution of posting %d", d.Seq)
	if d.Origin != a.registry.Origin() {
		return d, faultf(name, digest, "origin", "it is of %q, the charter of %q", d.Origin, a.registry.Origin())
	}
	if err := a.registry.VerifySigned(env, seal.RoleVault, "", d.Issued); err != nil {
		return d, err
	}
	_, _, err = checkLogged(a.registry, name, env, log, d.Issued)
	return d, err
}
