package bus

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"

	"robotorq.org/reserve/store"
)

// Outbox is what one producer has to hand over, in the producer's own store. A station may have
// several, each under its own producer id. Every message of an outbox goes to every one of its
// consumers: a station whose consumers want different things has an outbox for each.
type Outbox struct {
	db       *store.DB
	producer string

	mu        sync.Mutex
	stats     Stats
	consumers map[string]Mark
}

// Stats are figures for metrics; a snapshot.
type Stats struct {
	Head      uint64          // seq of the last committed message that the relay has read
	Sent      uint64          // seq up to which the transport has taken everything
	Depth     uint64          // messages that some consumer has not confirmed
	Resent    uint64          // messages sent again since the start
	Consumers []ConsumerStats // sorted by name
}

// ConsumerStats says how far one consumer is.
type ConsumerStats struct {
	Consumer string
	Mark     uint64
	Lag      uint64  // Head − Mark
	Refusal  Refusal // its last refusal, if it gave one
}

// NewOutbox opens the outbox of producer in db, whose schemas include [Schema], and registers
// consumers (at least one; ids). Rows are kept until all that were ever registered have confirmed
// them; Retire ends one. A consumer that is registered later begins, like every other, at the
// first message; if that is gone already its Consume ends with CodeTrimmed, so such a station
// saves a mark first, taken together with a copy of the state that the mark stands for.
func NewOutbox(ctx context.Context, db *store.DB, producer string, consumers ...string) (*Outbox, error) {
	for _, id := range append([]string{producer}, consumers...) {
		if err := CheckID(id); err != nil {
			return nil, err
		}
	}
	if len(consumers) == 0 {
		return nil, &Error{Code: CodeConfig, Op: "new outbox", Peer: producer, Detail: "without a consumer nothing would ever be trimmed"}
	}
	o := &Outbox{db: db, producer: producer, consumers: make(map[string]Mark)}
	err := db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for _, c := range consumers {
			_, err := tx.ExecContext(ctx, `INSERT INTO bus_consumer (producer, consumer, seq, digest) VALUES (?, ?, 0, ?)
				ON CONFLICT DO NOTHING`, producer, c, make([]byte, len(Digest{})))
			if err != nil {
				return err
			}
		}
		return o.load(ctx, tx)
	})
	if err != nil {
		return nil, err
	}
	return o, nil
}

func (o *Outbox) load(ctx context.Context, tx *sql.Tx) error {
	rows, err := tx.QueryContext(ctx, "SELECT consumer, seq, digest FROM bus_consumer WHERE producer = ?", o.producer)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var seq int64
		var digest []byte
		if err := rows.Scan(&name, &seq, &digest); err != nil {
			return err
		}
		o.consumers[name] = mark(seq, digest)
	}
	return rows.Err()
}

// Producer returns the id under which the outbox sends.
func (o *Outbox) Producer() string { return o.producer }

// Append adds a message in the producer's own transaction: it will be handed over if and only if
// that transaction commits. The body is at most MaxBody bytes and not kept. It returns the
// message's mark.
func (o *Outbox) Append(ctx context.Context, tx *sql.Tx, subject string, trace Trace, body []byte) (Mark, error) {
	if err := CheckSubject(subject); err != nil {
		return Mark{}, err
	}
	if err := trace.check(); err != nil {
		return Mark{}, err
	}
	if len(body) > MaxBody {
		return Mark{}, &Error{Code: CodeTooLarge, Op: "append", Detail: fmt.Sprintf("body of %d bytes, at most %d", len(body), MaxBody)}
	}
	last, err := o.last(ctx, tx)
	if err != nil {
		return Mark{}, err
	}
	if body == nil {
		body = []byte{}
	}
	m := Mark{Seq: last.Seq + 1}
	m.Digest = LinkDigest(last.Digest, m.Seq, subject, body)
	_, err = tx.ExecContext(ctx, `INSERT INTO bus_outbox (producer, seq, prev, digest, subject, body, parent, state)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		o.producer, int64(m.Seq), last.Digest[:], m.Digest[:], subject, body, trace.Parent, trace.State)
	if err != nil {
		return Mark{}, err
	}
	return m, nil
}

// last reads the mark of the last message; trimming always leaves that row.
func (o *Outbox) last(ctx context.Context, tx *sql.Tx) (Mark, error) {
	var seq int64
	var digest []byte
	err := tx.QueryRowContext(ctx, "SELECT seq, digest FROM bus_outbox WHERE producer = ? ORDER BY seq DESC LIMIT 1", o.producer).
		Scan(&seq, &digest)
	if errors.Is(err, sql.ErrNoRows) {
		return Mark{}, nil
	}
	if err != nil {
		return Mark{}, err
	}
	return mark(seq, digest), nil
}

// Retire forgets a consumer, so that rows are no longer kept for it; a running relay's Stats show
// it until the relay starts again.
func (o *Outbox) Retire(ctx context.Context, consumer string) error {
	err := o.db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM bus_consumer WHERE producer = ? AND consumer = ?", o.producer, consumer)
		return err
	})
	if err == nil {
		o.mu.Lock()
		delete(o.consumers, consumer)
		o.mu.Unlock()
	}
	return err
}

// Succeed makes a consumer begin behind the last message that this store's own outbox of a
// producer holds: the producer has moved to another process with a copy of that outbox, and what
// this store says of the producer is as of that message, though the consumer, in an earlier
// absence of the producer, did not get as far.
func Succeed(ctx context.Context, db *store.DB, consumer, producer string) error {
	return db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		m, err := LoadMark(ctx, tx, consumer, producer)
		if err != nil {
			return err
		}
		last, err := (&Outbox{producer: producer}).last(ctx, tx)
		if err != nil || last.Seq <= m.Seq {
			return err
		}
		return SaveMark(ctx, tx, consumer, producer, last)
	})
}

// Stats returns the figures as of now.
func (o *Outbox) Stats() Stats {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.stats
	s.Consumers = slices.Clone(o.stats.Consumers)
	return s
}

// rows reads messages above seq `after`, at most limit of them and about maxBytes of bodies, but
// one if there is one.
func (o *Outbox) rows(ctx context.Context, after, upTo uint64, limit, maxBytes int) (msgs []Message, err error) {
	err = o.db.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT seq, prev, digest, subject, body, parent, state FROM bus_outbox
			WHERE producer = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?`, o.producer, int64(after), int64(upTo), limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for size := 0; size < maxBytes && rows.Next(); {
			m := Message{Producer: o.producer}
			var seq int64
			var prev, digest []byte
			if err := rows.Scan(&seq, &prev, &digest, &m.Subject, &m.Body, &m.Trace.Parent, &m.Trace.State); err != nil {
				return err
			}
			m.Seq = uint64(seq)
			copy(m.Prev[:], prev)
			copy(m.Digest[:], digest)
			msgs = append(msgs, m)
			size += len(m.Body) + len(m.Subject)
		}
		return rows.Err()
	})
	return msgs, err
}

// bounds reads the first and last seq that are kept, zeros if none was ever appended.
func (o *Outbox) bounds(ctx context.Context) (first, last uint64, err error) {
	err = o.db.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var lo, hi sql.NullInt64
		err := tx.QueryRowContext(ctx, "SELECT min(seq), max(seq) FROM bus_outbox WHERE producer = ?", o.producer).Scan(&lo, &hi)
		first, last = uint64(lo.Int64), uint64(hi.Int64)
		return err
	})
	return first, last, err
}

// digestAt reads the digest of a kept message.
func (o *Outbox) digestAt(ctx context.Context, seq uint64) (d Digest, kept bool, err error) {
	err = o.db.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var digest []byte
		err := tx.QueryRowContext(ctx, "SELECT digest FROM bus_outbox WHERE producer = ? AND seq = ?", o.producer, int64(seq)).Scan(&digest)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		kept = err == nil
		copy(d[:], digest)
		return err
	})
	return d, kept, err
}

// trim records the marks and drops the rows below the lowest of them. The row of the lowest mark
// itself stays, so that a repeated mark can still be compared.
func (o *Outbox) trim(ctx context.Context, marks map[string]Mark) error {
	return o.db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for consumer, m := range marks {
			_, err := tx.ExecContext(ctx, "UPDATE bus_consumer SET seq = ?, digest = ? WHERE producer = ? AND consumer = ? AND seq < ?",
				int64(m.Seq), m.Digest[:], o.producer, consumer, int64(m.Seq))
			if err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM bus_outbox WHERE producer = ?1
			AND seq < (SELECT min(seq) FROM bus_consumer WHERE producer = ?1)`, o.producer)
		return err
	})
}
