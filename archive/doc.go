// Package archive keeps the artefacts of a reserve as plain files and checks
// them: content-addressed packs, and the static tlog-tiles directory that the
// proof log leaves behind.
//
// A data directory D holds two trees of files that this package reads:
//
//	D/packs/   journals <class>.open and packs <class>-<seq>-<sha256>.pack
//	D/log/     checkpoint, tile/…, and the writer's own .state/ (tlog-tiles)
//
// # Packs
//
// Artefacts are grouped into four classes, so that what is kept for ever, what
// may be pruned and what is read in order lie apart: identity (charters,
// enrolments, policies), work (batches, each followed by its reports), ingots
// (the ingot records of a pour, under the pour's digest) and spine (everything
// else that is logged). Every class has one append-only journal. A group of
// records is written by one write and made durable by one fsync ([Writer.Flush]);
// each frame carries a check sum of its header and of its body, and the last
// frame of a group says so. A journal is sealed into an immutable pack: blocks
// of about 128 KiB, compressed with zstd, then a table of blocks, a sorted index
// of digests and a trailer. The name of a pack is the SHA-256 of all its bytes,
// and the first line of each pack and journal names the SHA-256 of the class's
// previous pack, so packs form a chain that a mirror can walk without a list.
//
// # What survives a crash
//
// What a returned Flush has written is there after kill -9 and after a loss of
// power. A group that was not flushed is gone as a whole: opening a journal for
// writing cuts it back to the last complete group, and refuses to cut anything
// that a complete frame follows. Sealing writes a temporary file, renames it,
// and only then replaces the journal; a crash in between leaves a journal whose
// records all lie in the newest pack already, and opening finishes the job.
// Writing the same record again is harmless: it is recognised by its digest.
//
// # What it trusts
//
// Nothing that it reads. [Reader.Get] recomputes the digest of what it returns.
// [VerifyDir] accounts for every file and every byte of both trees, recomputes
// every tile, and then derives the whole reserve again with package proof from
// the root keys alone. Memory does not grow with the number of artefacts except
// for one bit each while verifying; the index for exports takes a few bytes for
// every pour, certificate and enrolment.
//
// The package opens files and nothing else: no network, no clock, no store.
// It implements the files of the proof chain specification, section 2, §5 and §6 and the document
// `proof export` of the interface specification.
package archive
