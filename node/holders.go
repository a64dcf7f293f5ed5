package node

import (
	"context"
	"crypto/sha256"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/web"
)

// holder is who signs in on the pages with the token that has a SHA-256: one of the
// reserve, or one that the marketplace has from the environment, which opens the
// marketplace alone.
func (n *Node) holder(ctx context.Context, digest [sha256.Size]byte) (web.Holder, error) {
	if n.market != nil {
		if role, known := n.market.routes.OwnRole(digest); known {
			return web.MarketHolder(role), nil
		}
	}
	who, err := n.face.explorer.Holder(ctx, digest)
	if api.CodeOf(err) == api.CodeTokenInvalid || err == nil {
		return web.HolderOf(who), err
	}
	return web.Holder{}, err
}
