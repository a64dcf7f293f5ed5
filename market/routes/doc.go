// Package routes is the marketplace's HTTP interface: the paths and bodies of its
// design under /robot, with bearer tokens, signed calls of robots, problem
// documents and idempotency keys (the marketplace specification, sections 3.9 and
// 3.10). One table says what there is; requests are answered by it and the
// OpenAPI document is written from it.
//
// It decides who is asking and whether a body can be read. What may happen is for
// the desk (package coordinator), which it trusts. Nothing here survives a crash
// and nothing has to.
//
// The order of checks is: the token, the body, the signature, then the state.
package routes
