// Package reserve runs an economy on the reserve's own production code: package ledger
// keeps its books, package proof judges its robots' signed reports, cuts ingots and makes
// certificates, and the clock is a number that stands until it is moved. It never sleeps
// and opens no socket.
//
// A [World] is people, organisations and robots who act by counter-based random draws;
// what their acts come to, the production code alone decides. The world trusts that code
// and nothing that it reads of a scenario, which is checked for names, units and ranges.
// Orders carry no signatures, as if [ledger.CheckOrder] had verified them, and runs of
// certificates are not signed by the mint; reports, batches, pours, enrolments, contracts
// and closings are signed and verified. Keys are fresh in every run, and no digest depends
// on one, so the same scenario and seed end in the same head of the postings.
//
// Everything is in memory: of a run that is killed only its unfinished files are left. Its
// rules are those of the ledger's specification, sections 1 to 3, not of the economy of
// the other simulations; the slow books that it must agree with are in ledger/slow.
// It implements "production code" of the simulator's specification, section 16.
package reserve
