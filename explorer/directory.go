package explorer

import (
	"context"
	"database/sql"
	"encoding/json"
	"slices"
	"sync"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
)

// directory is who works for whom, read from Trust's documents as they come.
type directory struct {
	refreshing sync.Mutex // one reads at a time

	mu         sync.RWMutex
	seq        uint64   // of the last document
	robots     []string // sorted
	of         map[string]*worker
	watts      uint64
	enterprise map[uint64]string // by contract
	members    uint64            // ever enrolled
	orgs       uint64            // ever enrolled
}

type worker struct {
	watts      uint64
	contracts  []uint64
	enrolments []merkle.Hash // digests, from version 1 on
}

func (d *directory) init() {
	d.of, d.enterprise = map[string]*worker{}, map[uint64]string{}
}

// readAtOnce is how many documents are read in one transaction.
const readAtOnce = 1000

// refresh takes in what Trust has admitted since the last time, and returns it as
// notices for the feed.
func (d *directory) refresh(ctx context.Context, db *store.DB) (notices []api.NoticeEvent, err error) {
	d.refreshing.Lock()
	defer d.refreshing.Unlock()
	for {
		docs, err := d.documents(ctx, db)
		if err != nil || len(docs) == 0 {
			return notices, err
		}
		d.mu.Lock()
		for _, doc := range docs {
			if doc.role != "" {
				d.learnPerson(doc.role == seal.RoleOrg, doc.version)
				continue
			}
			n, err := d.learn(doc.env)
			if err != nil {
				d.mu.Unlock()
				return notices, err
			}
			if n.Subject != "" {
				notices = append(notices, n)
			}
		}
		d.seq = docs[len(docs)-1].seq
		d.mu.Unlock()
	}
}

// document is what Trust has admitted: of a member or an organisation what its index says,
// of anything else the document.
type document struct {
	seq     uint64
	role    string // of a person, empty otherwise
	version uint64 // of a person
	env     seal.Envelope
}

func (d *directory) documents(ctx context.Context, db *store.DB) (docs []document, err error) {
	err = db.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT d.seq, coalesce(i.role, ''), coalesce(i.version, 0), CASE WHEN coalesce(i.role, '') = '' THEN d.envelope END
			FROM trust_document d LEFT JOIN trust_index i ON i.seq = d.seq WHERE d.seq > ? ORDER BY d.seq LIMIT ?`, int64(d.seq), readAtOnce)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var doc document
			var raw []byte
			if err := rows.Scan(&doc.seq, &doc.role, &doc.version, &raw); err != nil {
				return err
			}
			if doc.role == "" {
				if doc.env, err = seal.DecodeEnvelope(raw); err != nil {
					return err
				}
			}
			docs = append(docs, doc)
		}
		return rows.Err()
	})
	return docs, err
}

// learn takes in one document. People are told of when they have a wallet, and
// contracts when they are funded, by the vault's postings.
func (d *directory) learn(env seal.Envelope) (api.NoticeEvent, error) {
	switch env.PayloadType {
	case proof.TypeCharter:
		c, err := seal.DecodeCharter(env.Payload)
		if err != nil {
			return api.NoticeEvent{}, err
		}
		return api.NoticeEvent{Subject: "charter", ID: decimal(c.Version), Event: "signed"}, nil
	case proof.TypePolicy:
		p, err := policy.Decode(env.Payload)
		return api.NoticeEvent{Subject: "policy", ID: decimal(p.Version), Event: "announced"}, err
	case proof.TypeContract:
		c, err := proof.DecodeContract(env.Payload)
		if err != nil {
			return api.NoticeEvent{}, err
		}
		n := contractNumber(c.ID)
		d.enterprise[n] = c.Enterprise
		for _, id := range c.Robots {
			if w := d.of[id]; w != nil {
				w.contracts = append(w.contracts, n)
			}
		}
		return api.NoticeEvent{Subject: "contract", ID: decimal(n), Event: "signed"}, nil
	case proof.TypeEnrolment:
		// People are a hundred times as many as robots, and of them only the number is
		// wanted: Trust has read the rest.
		var who struct {
			Robot   string `json:"robot"`
			Org     string `json:"org"`
			Version uint64 `json:"version"`
		}
		if err := json.Unmarshal(env.Payload, &who); err != nil {
			return api.NoticeEvent{}, err
		}
		if who.Robot == "" {
			d.learnPerson(who.Org != "", who.Version)
			return api.NoticeEvent{}, nil
		}
		enrolment, err := seal.DecodeEnrolment(env.Payload)
		if err != nil {
			return api.NoticeEvent{}, err
		}
		return d.learnRobot(enrolment, env.Digest()), nil
	}
	return api.NoticeEvent{}, nil
}

func (d *directory) learnPerson(org bool, version uint64) {
	switch {
	case version > 1:
	case org:
		d.orgs++
	default:
		d.members++
	}
}

func (d *directory) learnRobot(e *seal.Enrolment, digest merkle.Hash) api.NoticeEvent {
	w := d.of[e.ID]
	if w == nil {
		w = new(worker)
		d.of[e.ID] = w
		at, _ := slices.BinarySearch(d.robots, e.ID)
		d.robots = slices.Insert(d.robots, at, e.ID)
	}
	w.enrolments = append(w.enrolments, digest)
	d.watts += e.Robot.Watts - w.watts
	w.watts = e.Robot.Watts
	event := "enrolled"
	if e.Version > 1 {
		event = "enrolment changed"
	}
	return api.NoticeEvent{Subject: "robot", ID: e.ID, Event: event}
}

// fleet is how many robots are enrolled and what they may draw together.
func (d *directory) fleet() (robots, watts uint64) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return uint64(len(d.robots)), d.watts
}

// after lists up to n ids from the given one on.
func (d *directory) from(id string, n int) []string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	at, _ := slices.BinarySearch(d.robots, id)
	return slices.Clone(d.robots[at:min(at+n, len(d.robots))])
}

// people is how many members and organisations were ever enrolled.
func (d *directory) people() (members, orgs uint64) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.members, d.orgs
}

// enrolmentsOf are the digests of a robot's enrolment, from version 1 on.
func (d *directory) enrolmentsOf(id string) []merkle.Hash {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if w := d.of[id]; w != nil {
		return slices.Clone(w.enrolments)
	}
	return nil
}

// contractsOf lists the contracts under which a robot works or has worked.
func (d *directory) contractsOf(id string) []uint64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if w := d.of[id]; w != nil {
		return slices.Clone(w.contracts)
	}
	return nil
}

// enterpriseOf is the enterprise of a contract, "" while it is not known here.
func (d *directory) enterpriseOf(contract uint64) string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.enterprise[contract]
}
