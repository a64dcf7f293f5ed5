package api

import (
	"reflect"

	"github.com/danielgtaylor/huma/v2"
)

const description = `Everything about the reserve that is public, and what its members do.

Reading the explorer needs nothing. Reading a wallet needs an HTTP Message
Signature (RFC 9421) by a key of its owner, or a token of role portal or admin.
Orders and enrolments are signed envelopes (DSSE) and carry their own authority.

Money is in JT: 1 RT = 3,600,000 JT. Times are Unix milliseconds. Digests are 64
lower hexadecimal digits. Lists page by an opaque cursor. Errors are problem
documents (RFC 9457) with a stable code.`

const (
	tagExplorer  = "explorer"
	tagReserve   = "reserve"
	tagLive      = "live"
	tagWallet    = "wallet"
	tagContract  = "contracts"
	tagRobots    = "robots"
	tagSimulator = "simulator"
)

func tags() []*huma.Tag {
	return []*huma.Tag{
		{Name: tagLive, Description: "The way of the ore as it happens"},
		{Name: tagExplorer, Description: "Certificates, ingots, ore, contracts, robots"},
		{Name: tagReserve, Description: "Supply, dividend, charter, policy"},
		{Name: tagRobots, Description: "Where robots hand in their reports"},
		{Name: tagWallet, Description: "What members do"},
		{Name: tagContract, Description: "What enterprises and operators do"},
		{Name: tagOperator, Description: "What only the operator of the node sees"},
		{Name: tagSimulator, Description: "Runs of the simulator on this node; they are started and stopped on its pages"},
	}
}

const (
	schemeSignature = "signature"
	schemeToken     = "token"
)

func securitySchemes() map[string]*huma.SecurityScheme {
	return map[string]*huma.SecurityScheme{
		schemeSignature: {
			Type: "apiKey", In: "header", Name: "Signature",
			Description: `HTTP Message Signature (RFC 9421) by the owner's Ed25519 key over "@method" "@authority" "@path" "@query", with created and keyid.`,
		},
		schemeToken: {Type: "http", Scheme: "bearer", Description: "Token with a role"},
	}
}

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }
