// Package api is the reserve's HTTP interface: JSON under /api/v1, an OpenAPI
// 3.1 document generated from the handlers at /api/openapi.json, RFC 9457
// problems with stable codes, live events over server-sent events, and the
// health and metrics endpoints that the node hands in (specification:
// interface.md, "HTTP" and "Authentication").
//
// It knows no station and no store. What it shows comes through [Reader], what
// members do goes through [Wallets], who holds a bearer token says [Tokens];
// the node implements all three with the stations. What happens is published
// into a [Feed], which numbers it, keeps the newest of it for clients that
// reconnect, and derives the rates.
//
// It trusts the node's answers and nothing that comes over the wire: the Host
// and Origin of every request are checked, on loopback too, so that a page of
// another origin can neither read nor write (DNS rebinding); bodies are
// bounded; orders and enrolments are opaque signed envelopes here, judged by
// the stations; wallets are shown only to a key of their owner (HTTP Message
// Signatures, RFC 9421) or to a token that may read them.
//
// Nothing here survives a crash and nothing has to: the feed starts empty with
// a new epoch, and clients that come back with an old event id are told to
// read the overview again.
package api
