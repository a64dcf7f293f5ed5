package proof

import (
	"sync"

	"robotorq.org/reserve/merkle"
)

// People is where the enrolments of members and organisations are stored that a registry
// was told of and does not hold: a hundred thousand members have 90 MB of public keys. Its
// methods may be called by several goroutines; what they return is not changed.
type People interface {
	// Versions are all stored versions of a person's enrolment, in order; none when there
	// is none.
	Versions(role, id string) ([]SignedEnrolment, error)
	// Member is who is enrolled as a subject.
	Member(subject merkle.Hash) (id string, found bool, err error)
}

// Know counts an enrolment of a member or an organisation that is in the registry's store,
// at the place in the order at which it was added. issued is its issued_ms.
func (r *Registry) Know(issued uint64) {
	if n := len(r.latest); n > 0 {
		issued = max(issued, r.latest[n-1])
	}
	r.latest = append(r.latest, issued)
}

// Stored says that all that was added is in the registry's store by now. Like Add it is not
// safe beside any other call.
func (r *Registry) Stored() {
	if r.stored == nil {
		return
	}
	for key, versions := range r.people {
		r.recent.put(key, versions)
	}
	clear(r.people)
	clear(r.subjects)
}

// PersonHistory returns every version of a member's (seal.RoleMember) or an organisation's
// (seal.RoleOrg) enrolment with its digest, in order; none when there is none. The error is
// that of the registry's store.
func (r *Registry) PersonHistory(role, id string) ([]SignedEnrolment, error) {
	versions, err := r.personVersions(person{role, id})
	list := make([]SignedEnrolment, len(versions))
	for i, v := range versions {
		list[i] = SignedEnrolment{v.Enrolment, v.digest}
	}
	return list, err
}

// personVersions are the versions of a person's enrolment. Those that are read from the
// store do not say when they were logged, which nobody asks of people.
func (r *Registry) personVersions(key person) ([]enrolled, error) {
	if versions, held := r.people[key]; held || r.stored == nil {
		return versions, nil
	}
	if versions, held := r.recent.get(key); held {
		return versions, nil
	}
	stored, err := r.stored.Versions(key.role, key.id)
	if err != nil {
		return nil, err
	}
	versions := make([]enrolled, len(stored))
	for i, v := range stored {
		versions[i] = enrolled{digest: v.Digest, Enrolment: v.Enrolment}
	}
	if len(versions) > 0 {
		r.recent.put(key, versions)
	}
	return versions, nil
}

// memberOf is who is enrolled as a subject.
func (r *Registry) memberOf(subject merkle.Hash) (id string, found bool, err error) {
	if id, found = r.subjects[subject]; found || r.stored == nil {
		return id, found, nil
	}
	return r.stored.Member(subject)
}

// recent holds the histories that were asked for last: at least the last 512 people, at
// most twice as many. Reads of a registry beside each other share it.
type recent struct {
	mu         sync.Mutex
	young, old map[person][]enrolled
}

const recentPeople = 512

func (c *recent) get(key person) ([]enrolled, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if versions, held := c.young[key]; held {
		return versions, true
	}
	versions, held := c.old[key]
	if held {
		c.keep(key, versions)
	}
	return versions, held
}

func (c *recent) put(key person, versions []enrolled) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep(key, versions)
}

// keep is put with the lock held. A later history takes the place of an earlier one: it is
// looked for among the young first.
func (c *recent) keep(key person, versions []enrolled) {
	if c.young == nil || len(c.young) >= recentPeople {
		c.young, c.old = make(map[person][]enrolled, recentPeople), c.young
	}
	c.young[key] = versions
}
