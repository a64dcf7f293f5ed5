package proof

import (
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/seal"
)

// view is a registry as it was when it held `known` artefacts. An artefact is
// judged by what was logged before the first pour that covers it.
type view struct {
	*Registry
	known int
	alone bool // judging one report by itself: no closings, no limits of a policy
}

func (r *Registry) now() view { return view{Registry: r, known: r.Len()} }

func (r *Registry) before(known int) view { return view{Registry: r, known: min(known, r.Len())} }

// charter returns the newest charter of the view, nil when there is none.
func (v view) charter() *seal.SignedCharter {
	for i := len(v.charters) - 1; i >= 0; i-- {
		if v.charters[i] < v.known {
			return v.chain.Versions()[i]
		}
	}
	return nil
}

func (v view) keys(role, name string) []seal.Key {
	c := v.charter()
	if c == nil {
		return nil
	}
	if name == "" {
		return c.KeysOf(role)
	}
	return c.KeysOf(role, name)
}

// signedBy checks an envelope against the charter's keys of a role and name ("":
// any name of the role).
func (v view) signedBy(artefact string, env seal.Envelope, role, name string, ms uint64) *Fault {
	return v.signatories(role, name, ms).verify(artefact, env, env.Digest)
}

// required lists the algorithms that a role had to sign with at ms: those of the
// newest charter of the view that was issued by then, else of the first. What was
// signed under an older charter is not judged by a newer one's algorithms; a
// signature cannot be backdated past the log.
func (v view) required(role string, ms uint64) []string {
	versions := v.chain.Versions()
	required := versions[0].Required(role)
	for i, c := range versions {
		if v.charters[i] < v.known && c.IssuedMS <= ms {
			required = c.Required(role)
		}
	}
	return required
}

// robot returns the version that judges a first reading at ms: the highest with
// issued_ms at or before it, else the first.
func (v view) robot(id string, ms uint64) (enrolled, bool) {
	versions := v.versions(id)
	if len(versions) == 0 {
		return enrolled{}, false
	}
	for i := len(versions) - 1; i > 0; i-- {
		if versions[i].IssuedMS <= ms {
			return versions[i], true
		}
	}
	return versions[0], true
}

// versions returns the versions of a robot's enrolment that the view knows.
func (v view) versions(id string) []enrolled {
	versions := v.robots[id]
	for len(versions) > 0 && versions[len(versions)-1].since >= v.known {
		versions = versions[:len(versions)-1]
	}
	return versions
}

func (v view) funded(id string) (Contract, bool) {
	c, ok := v.contract[id]
	return c.Contract, ok && c.since < v.known
}

func (v view) closing(contract string) (Closing, bool) {
	c, ok := v.closings[contract]
	return c.Closing, ok && c.since < v.known && !v.alone
}

func (v view) policy(ms uint64) (announced, bool) {
	for i := len(v.policies) - 1; i >= 0; i-- {
		if p := v.policies[i]; p.since < v.known && p.Effective <= ms {
			return p, true
		}
	}
	return announced{}, false
}

// limits of the policy in force at ms; the specification's defaults where none is
// logged. A bundle carries no policy and so knows no limits.
type limits struct{ maxAge, watts, tokens uint64 }

func (v view) limits(ms uint64) limits {
	if v.partial || v.alone {
		return limits{maxAge: 1 << 63, watts: 1 << 63, tokens: 1 << 63}
	}
	if p, ok := v.policy(ms); ok {
		return limits{maxAge: p.MaxReportAge, watts: p.MaxWatts, tokens: p.MaxTokensPerSecond}
	}
	return limits{maxAge: DefaultMaxAgeMS, watts: defaultMaxWatts, tokens: defaultMaxTokens}
}

const (
	defaultMaxWatts  = 20_000
	defaultMaxTokens = 100
)

// end of a robot's chain under a version: where the next version begins.
func (v view) successor(id string, version uint64) (last *seal.LastReport, ok bool) {
	for _, e := range v.versions(id) {
		if e.Version > version && e.Robot.Last != nil {
			return e.Robot.Last, true
		}
	}
	return nil, false
}

// chainStart returns where a digger that never saw the robot picks up its chain.
func (v view) chainStart(id string) Link {
	versions := v.versions(id)
	if len(versions) == 0 {
		return Link{}
	}
	if last := versions[len(versions)-1].Robot.Last; last != nil {
		return Link{Seq: last.Seq, Digest: last.Digest}
	}
	return Link{}
}

// Link is a place in a chain: a seq and the digest that stands there. The zero
// value is the place before the first.
type Link struct {
	Seq    uint64
	Digest merkle.Hash
}
