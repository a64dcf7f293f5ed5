package vault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/policy"
	"robotorq.org/reserve/proof"
	"robotorq.org/reserve/seal"
)

// Recalled is what became of a recall; it is on disk.
type Recalled struct {
	Posting  ledger.Known
	Serial   uint64
	Disputed bool // the StakeVault does not hold a certificate's money yet
	Repeated bool
}

const (
	// maxAhead is how far ahead of its posting a recall may be signed, ms.
	maxAhead = 120_000
	// maxRecallAge is how old a recall may be when it is posted, ms: a key that has ended
	// could otherwise take back for ever, dated back to the time when it counted.
	maxRecallAge = 15 * policy.Minute
)

// Recall takes a certificate back that the mint, or Trust by somebody's evidence, has
// signed to be wrong. Its money leaves the StakeVault at once, or as soon as that
// holds as much; bonds bound to it are bound to another certificate in the same
// posting. The same certificate again gives the first result. Errors are the
// ledger's, typed.
func (s *Station) Recall(ctx context.Context, env seal.Envelope) (Recalled, error) {
	r, err := s.checkRecall(ctx, env)
	if err != nil {
		return Recalled{}, err
	}
	raw, err := env.EncodeCBOR()
	if err != nil {
		return Recalled{}, err
	}
	c := &ledger.Recall{Serial: r.Serial, Proof: raw}
	done := Recalled{Serial: r.Serial}
	err = s.do(ctx, &job{key: c.Key(), apply: func(now uint64) (refused, err error) {
		if now, err = s.settle(now); err != nil {
			return nil, err
		}
		_, posted, err := s.keys.Find(c.Key())
		if err != nil {
			return nil, err
		}
		if refused := RecallInTime(r, now); refused != nil && !posted {
			return refused, nil
		}
		out, refused, err := s.apply(c, now)
		done.Posting, done.Repeated = out.Known, out.Repeated
		for _, serial := range s.book.State().Disputed {
			done.Disputed = done.Disputed || serial == r.Serial
		}
		return refused, err
	}})
	return done, err
}

// IsRecalled reports whether a recall of a certificate is posted.
func (s *Station) IsRecalled(ctx context.Context, serial uint64) (bool, error) {
	_, found, err := find(ctx, s.DB, (&ledger.Recall{Serial: serial}).Key())
	return found, unavailable(err)
}

// checkRecall tests who signed a recall, and that it names a certificate of this reserve.
// Signatures are verified outside of the books' lock: anybody may send a recall.
func (s *Station) checkRecall(ctx context.Context, env seal.Envelope) (proof.Recall, error) {
	r, err := DecodeRecall(env)
	if err != nil {
		return r, err
	}
	s.mu.RLock()
	origin, signatories := s.registry.Origin(), recallers(s.registry, r)
	s.mu.RUnlock()
	if err := signedRecall(origin, signatories, env, r); err != nil {
		return r, err
	}
	digest, found, err := s.minted(ctx, r.Serial)
	switch {
	case err != nil:
		return r, unavailable(err)
	case !found:
		return r, refusal(ledger.CodeUnknownAccount, "there is no certificate %d", r.Serial)
	case digest != r.Certificate:
		return r, refusal(ledger.CodeMalformed, "certificate %d is %s, the recall names %s", r.Serial, digest, r.Certificate)
	}
	return r, nil
}

// RecallInTime tests whether a recall may be posted at a time: neither signed ahead of
// it nor long before. It is the posting's time that counts, so that an audit comes to the
// same. One that comes again changes nothing and may be of any age.
func RecallInTime(r proof.Recall, at uint64) error {
	if r.Issued > at+maxAhead {
		return refusal(ledger.CodeExpired, "the recall is signed at %d, it is %d", r.Issued, at)
	}
	if r.Issued+maxRecallAge < at {
		return refusal(ledger.CodeExpired, "the recall was signed at %d, it is %d: sign it again", r.Issued, at)
	}
	return nil
}

// DecodeRecall reads a recall; the error is a [*ledger.Error]. It verifies nothing.
func DecodeRecall(env seal.Envelope) (proof.Recall, error) {
	if env.PayloadType != proof.TypeRecall {
		return proof.Recall{}, refusal(ledger.CodeMalformed, "%q is not a recall", env.PayloadType)
	}
	c, err := proof.DecodeRecall(env.Payload)
	if err != nil {
		return c, &ledger.Error{Code: ledger.CodeMalformed, Detail: "recall", Operation: -1, Err: err}
	}
	return c, nil
}

// OpenRecall reads a recall and verifies that a mint or trust key of the charter has
// signed it for this reserve. The error is a [*ledger.Error].
func OpenRecall(r *proof.Registry, env seal.Envelope) (proof.Recall, error) {
	c, err := DecodeRecall(env)
	if err != nil {
		return c, err
	}
	return c, signedRecall(r.Origin(), recallers(r, c), env, c)
}

// recallers are those one of whom must have signed a recall.
func recallers(r *proof.Registry, c proof.Recall) [2]proof.Signatories {
	return [2]proof.Signatories{r.Signatories(seal.RoleMint, "", c.Issued), r.Signatories(seal.RoleTrust, "", c.Issued)}
}

func signedRecall(origin string, by [2]proof.Signatories, env seal.Envelope, c proof.Recall) error {
	if c.Origin != origin {
		return refusal(ledger.CodeBadSignature, "the recall is for %q, this is %q", c.Origin, origin)
	}
	var all error
	for _, s := range by {
		err := s.Verify(env)
		if err == nil {
			return nil
		}
		all = errors.Join(all, err)
	}
	return &ledger.Error{Code: ledger.CodeBadSignature, Detail: "neither the mint nor Trust has signed the recall", Operation: -1, Err: all}
}

// minted is the digest of the certificate that was minted under a serial.
func (s *Station) minted(ctx context.Context, serial uint64) (digest merkle.Hash, found bool, err error) {
	err = s.DB.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var body []byte
		err := tx.QueryRowContext(ctx, "SELECT body FROM vault_posting WHERE key = ?", (&ledger.Mint{Serial: serial}).Key()).Scan(&body)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		c, err := commandOf(body)
		if err != nil {
			return err
		}
		m, ok := c.(*ledger.Mint)
		if !ok {
			return fmt.Errorf("the posting of certificate %d is no minting", serial)
		}
		digest, found = m.Digest, true
		return nil
	})
	return digest, found, err
}

func commandOf(body []byte) (ledger.Command, error) {
	p, err := ledger.DecodePosting(body)
	if err != nil {
		return nil, err
	}
	return ledger.DecodeCommand(p.Command)
}

// recalledBy is the certificate whose money a posting takes back; paid is false when
// it moves none: the certificate is in dispute then.
func recalledBy(p *ledger.Posting) (serial uint64, paid bool, err error) {
	c, err := ledger.DecodeCommand(p.Command)
	if err != nil {
		return 0, false, err
	}
	switch c := c.(type) {
	case *ledger.Recall:
		return c.Serial, len(p.Entries) > 0, nil
	case *ledger.Repay:
		return c.Serial, true, nil
	}
	return 0, false, nil
}
