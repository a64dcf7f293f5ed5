// Package coordinator runs the marketplace: it hands the core (package market) its
// books, asks the two rails, and does what time brings. A [Desk] is one of
// possibly several on the same books.
//
// # Order of things
//
// The books know before anybody else does. An invoice is in them before a client
// sees it; a withdrawal is debited before it is sent; entries are bound before a
// transaction is built, and its bytes are stored before they are broadcast. What a
// call to a rail left open is asked for again by the jobs, and every such call may
// be repeated. So a crash at any instant, or a second process that does the same
// jobs, repeats questions and never payments.
//
// # Whom it trusts
//
// The rails about what was paid, the books about what was decided, and nobody
// about a call that failed. Implements the marketplace specification, sections 3
// and 4.
package coordinator
