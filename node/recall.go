package node

import (
	"context"
	"crypto/sha256"
	"strings"
	"time"

	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/mint"
	"robotorq.org/reserve/proof"
)

// recallEvery is how often the node asks the mint for certificates that it has found to
// be wrong.
const recallEvery = 5 * time.Second

// recalls has the vault take back what the mint has found to be wrong, until ctx ends.
func (n *Node) recalls(ctx context.Context) error {
	ticker, stop := n.clock.NewTicker(recallEvery)
	defer stop()
	done := map[uint64]bool{}
	for {
		select {
		case <-ticker:
		case <-ctx.Done():
			return nil
		}
		faulty, err := n.mint.Faulty(ctx)
		if err != nil && ctx.Err() == nil {
			return err
		}
		for _, f := range faulty {
			if done[f.Serial] {
				continue
			}
			if err := n.recallFaulty(ctx, f); err != nil {
				n.log.Warn("a wrong certificate is not recalled yet", "serial", f.Serial, "err", err)
				continue
			}
			done[f.Serial] = true
		}
	}
}

// recallFaulty signs a recall with the mint's key, unless that was done before.
func (n *Node) recallFaulty(ctx context.Context, f mint.Faulty) error {
	known, err := n.vault.IsRecalled(ctx, f.Serial)
	if err != nil || known {
		return err
	}
	reason := f.Fault
	r := proof.Recall{
		Origin: n.identity.Origin, Serial: f.Serial, Certificate: f.Digest, Evidence: merkle.Hash(sha256.Sum256([]byte(f.Fault))),
		Reason: strings.ToValidUTF8(reason[:min(len(reason), 200)], ""), Issued: n.nowMS(),
	}
	env, err := n.ring.Mint.Sign(proof.TypeRecall, r.Encode())
	if err != nil {
		return err
	}
	done, err := n.vault.Recall(ctx, env)
	if err == nil {
		n.log.Error("a certificate was proven wrong and is recalled", "serial", f.Serial, "disputed", done.Disputed, "fault", f.Fault)
	}
	return err
}
