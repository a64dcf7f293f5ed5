package explorer_test

import (
	"encoding/json"
	"strings"
	"testing"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/proof/prooftest"
	"robotorq.org/reserve/seal"
)

func TestARobotIsEnrolledForAnOwnerThatTheReserveKnows(t *testing.T) {
	w := newTown(t)
	enrol := func(id, owner string) error {
		now := uint64(w.clock.Now().UnixMilli())
		e := &seal.Enrolment{
			Origin: prooftest.Origin, ID: id, Version: 1, IssuedMS: now, Keys: prooftest.Signer(t, id, seal.RoleRobot).PublicKeys(now),
			Robot: &seal.RobotTerms{Owner: owner, Digger: prooftest.Digger, Watts: 350, TokensPerSecond: 10, Energy: seal.EnergyMetered},
		}
		payload, err := e.Encode()
		must(t, err)
		env, err := w.reserve.Signers[prooftest.Registrar].Sign(proof.TypeEnrolment, payload)
		must(t, err)
		text, err := json.Marshal(env)
		must(t, err)
		_, err = w.Enrol(t.Context(), text)
		return err
	}
	err := enrol("forge-1", "nobody")
	code(t, err, api.CodeUnknownAccount)
	if err == nil || !strings.Contains(err.Error(), `"nobody"`) || !strings.Contains(err.Error(), "members enrol") {
		t.Errorf("it does not say whom and what to do: %v", err)
	}
	guild := api.Admission{Org: "guild"}
	for _, k := range prooftest.Signer(t, "guild", seal.RoleOrg).Keys {
		guild.Keys = append(guild.Keys, api.AdmissionKey{Alg: k.Alg, Public: k.Public})
	}
	_, err = w.Admit(t.Context(), "desk", guild)
	must(t, err)
	must(t, enrol("forge-1", "guild"))
	// A contract names an organisation as the robots' owner: a member could never be one.
	ola := api.Admission{Member: "ola", Subject: "ola"}
	for _, k := range prooftest.Signer(t, "ola", seal.RoleMember).Keys {
		ola.Keys = append(ola.Keys, api.AdmissionKey{Alg: k.Alg, Public: k.Public})
	}
	_, err = w.Admit(t.Context(), "desk", ola)
	must(t, err)
	code(t, enrol("forge-2", "ola"), api.CodeUnknownAccount)
}
