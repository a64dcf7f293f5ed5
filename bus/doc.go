// Package bus carries artefacts between stations: NATS with JetStream as the
// transport, and above it the hand-over of the proof chain specification, section 6, which needs
// nothing of the transport but that it delivers sometimes.
//
// # Hand-over
//
// A producer appends each message to its [Outbox] in the transaction that
// makes it true. The outbox numbers its messages from 1 and links each to the
// one before: digest = SHA-256(prev ‖ uint64be(seq) ‖ uint16be(len(subject)) ‖
// subject ‖ body), zeros before the first. Outbox.Run publishes committed rows
// in order and keeps them until every registered consumer's mark has passed.
//
// A consumer ([Consume]) starts from the mark in its own store, "last seq and
// digest of producer P", ignores what is at or below it, checks each link and
// hands contiguous slices to its handler, which saves its state and the new
// mark ([SaveMark]) in one transaction. Then it publishes the mark on
// rtq.ack.<consumer>.<producer>; also when it starts, when it misses something
// (with the highest seq that it knows to be missing) and every Heartbeat. The
// producer trims by these marks and sends again what a consumer asks for, or
// what a mark has been short of for StallAfter. So lost messages and lost
// marks both heal; repeated and reordered ones change nothing. The transport
// is used as if it had no memory: an emptied JetStream directory costs some
// resending.
//
// # What it trusts
//
// The stores of both sides, and nothing on the wire: a damaged message is
// dropped and asked for again. A message that is sound but does not continue
// the chain behind the mark, or a mark ahead of the producer's outbox, means
// that a store was replaced or restored from an old copy; both are fatal
// errors that name producer and seq, since going on would lose or double ore.
// Who may publish at all is the server's matter (no port unless asked, token);
// what an artefact is worth is decided by its signatures, never by this
// package.
//
// # What survives a crash
//
// Outbox rows and marks, which lie in the stations' stores. JetStream is not
// synced at each message (its default interval): its loss is healed as above,
// and syncing every message would cost more than the ledger does.
//
// Robots talk to their digger without an outbox: a report is its own numbered,
// linked and spooled message, published on rtq.report.<digger>.<robot> and
// answered with an [Ack] on rtq.ack.<digger>.<robot>.
package bus
