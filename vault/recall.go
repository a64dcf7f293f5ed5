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
	// maxAhead is how far ahead of the vault's clock a recall may be signed, ms.
	maxAhead = 120_000
	// maxRecallAge is how old a recall may be when it comes, ms: a key that has ended
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
func (s *Station) checkRecall(ctx context.Context, env seal.Envelope) (proof.Recall, error) {
	s.mu.RLock()
	r, err := OpenRecall(s.registry, env)
	s.mu.RUnlock()
	if err != nil {
		return r, err
	}
	if err := s.recallInTime(ctx, r); err != nil {
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

// recallInTime tests a recall's time by the vault's clock. One that comes again, when
// the certificate is recalled already, changes nothing and may be of any age.
func (s *Station) recallInTime(ctx context.Context, r proof.Recall) error {
	now := uint64(s.Clock.Now().UnixMilli())
	if r.Issued > now+maxAhead {
		return refusal(ledger.CodeExpired, "the recall is signed at %d, it is %d", r.Issued, now)
	}
	if r.Issued+maxRecallAge >= now {
		return nil
	}
	known, err := s.IsRecalled(ctx, r.Serial)
	if err == nil && !known {
		err = refusal(ledger.CodeExpired, "the recall was signed at %d, it is %d: sign it again", r.Issued, now)
	}
	return err
}

// OpenRecall reads a recall and verifies that a mint or trust key of the charter has
// signed it for this reserve. The error is a [*ledger.Error].
func OpenRecall(r *proof.Registry, env seal.Envelope) (proof.Recall, error) {
	if env.PayloadType != proof.TypeRecall {
		return proof.Recall{}, refusal(ledger.CodeMalformed, "%q is not a recall", env.PayloadType)
	}
	c, err := proof.DecodeRecall(env.Payload)
	if err != nil {
		return c, &ledger.Error{Code: ledger.CodeMalformed, Detail: "recall", Operation: -1, Err: err}
	}
	if c.Origin != r.Origin() {
		return c, refusal(ledger.CodeBadSignature, "the recall is for %q, this is %q", c.Origin, r.Origin())
	}
	byMint := r.VerifySigned(env, seal.RoleMint, "", c.Issued)
	if byMint == nil {
		return c, nil
	}
	if byTrust := r.VerifySigned(env, seal.RoleTrust, "", c.Issued); byTrust != nil {
		return c, &ledger.Error{Code: ledger.CodeBadSignature, Detail: "neither the mint nor Trust has signed the recall", Operation: -1,
			Err: errors.Join(byMint, byTrust)}
	}
	return c, nil
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
