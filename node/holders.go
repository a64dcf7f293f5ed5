package node

import (
	"context"
	"crypto/sha256"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/web"
)

// RoleTokens are the role tokens of a reserve, with or without its node.
type RoleTokens interface {
	api.Tokens
	// Holder is who holds the token with a SHA-256. The error of one that is unknown, has
	// expired or was revoked is a [*api.Error] of code [api.CodeTokenInvalid].
	Holder(ctx context.Context, digest [sha256.Size]byte) (api.Principal, error)
}

func (n *Node) holder(ctx context.Context, digest [sha256.Size]byte) (web.Holder, error) {
	return holderOf(ctx, n.market, n.face.explorer, digest)
}

// holderOf is who signs in on the pages with the token that has a SHA-256: one of the
// reserve, or one that the marketplace has from the environment, which opens the
// marketplace alone. Either may be missing.
func holderOf(ctx context.Context, m *marketplace, tokens RoleTokens, digest [sha256.Size]byte) (web.Holder, error) {
	if m != nil {
		if role, known := m.routes.OwnRole(digest); known {
			return web.MarketHolder(role), nil
		}
	}
	if tokens == nil {
		return web.Holder{}, api.Errorf(api.CodeTokenInvalid, "This token is not valid.")
	}
	who, err := tokens.Holder(ctx, digest)
	if api.CodeOf(err) == api.CodeTokenInvalid || err == nil {
		return web.HolderOf(who), err
	}
	return web.Holder{}, err
}
