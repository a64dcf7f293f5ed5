// Package witness makes it costly for a log to show different trees to different
// people: witnesses remember the latest checkpoint of a log and cosign only what
// continues it; clients demand cosignatures of k out of n of them.
//
// Both directions of C2SP tlog-witness are here. [Server] is a witness for
// configured logs; [Collect] is what a log, or anybody who has its tiles, asks
// witnesses with. [Policy] is a C2SP tlog-policy file: which witnesses, and how
// many of them. The signatures themselves (C2SP tlog-cosignature, Ed25519) are
// package checkpoint's. The reserve's own log asks while it publishes
// (mint/prooflog); its witnesses are the charter's keys of role witness, so that
// a checkpoint with a line of anybody else is refused.
//
// # What a witness promises
//
// A cosignature says: at that second this was the largest tree of the log that I
// have seen, and it continues every one that I cosigned before. The new
// checkpoint is in the witness's book, on disk, before it is signed; reading the
// old one, checking the proof and writing the new one are one transaction, and
// the time of a cosignature never falls. After kill -9 a witness knows at least
// everything that it ever signed. A witness that was restored from a backup may
// not, and MUST get a new key.
//
// # What it trusts
//
// The keys of the logs that it is configured for, its disk, and its clock for
// the time alone. Requests are not authenticated beyond the log's signatures, as
// the protocol has it. A signed checkpoint that does not continue the kept one is
// kept as evidence ([Server.Conflicts]), a bounded number of them.
//
// It implements the witnesses of the proof chain specification, section 5.
package witness
