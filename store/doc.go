// Package store keeps the books of a station in one SQLite file, or in one
// database of a PostgreSQL server.
//
// It does four things: opens the books with the settings on which durability
// depends (WAL, synchronous=FULL, foreign keys; synchronous_commit), brings
// their tables up to date by forward-only checksummed migrations, runs one
// writer and at most two readers, and commits work of many callers in one
// transaction ([Group]). Many rows at once are a [Set].
//
// # Two engines, one text
//
// A station writes SQL once, in what both engines understand: SELECT, INSERT,
// UPDATE, DELETE, ON CONFLICT, `?` and `?1` for parameters, and as types
// INTEGER, TEXT and BLOB in STRICT tables. The engine of PostgreSQL
// translates parameters and declarations and nothing else, so both have the
// same schema under the same checksums; text compares byte by byte in both.
// Sets are one statement over arrays there (unnest), and joined or prepared
// single statements here, whichever costs less. Package storetest runs one
// suite on both.
//
// It trusts the operating system to keep what fsync acknowledged, and nothing
// else: SQLite's own structure is checked on demand by Check, the meaning of
// the rows by whoever owns them. A server is trusted with more: it is refused
// when it says that it does not sync, but it is believed.
//
// What survives a crash: everything whose Update, or Do of a [Group],
// returned nil. A kill at any instant leaves the file as after the last
// commit; the next Open replays the write-ahead log. A transaction that was
// open is gone as a whole, so a consumer's state, its mark and its outbox
// (package bus) move together or not at all (the proof chain specification, section 6).
//
// One process writes books at a time; any number may read them with
// [OpenReadOnly], also while they are written, and a file also from a cold copy.
//
// A server that goes away fails what is under way with CodeUnavailable; the
// outcome of a transaction that was being committed is then unknown until
// [DB.Settle] returns. The next use connects again. The writer's connection
// holds an advisory lock, and finds out whether another process has written
// since (CodeTaken): what this one has in memory would be old then.
//
// Memory: the writer caches Options.CacheKiB of pages (512 KiB unless told
// otherwise), a reader half of that, each up to 64 prepared statements; the
// allocator of the pure Go SQLite spends about twice that on pages. A reader
// exists only while it is used, and a minute longer. A file of little use (a
// robot's spool) is well served by 128 KiB and one reader.
//
// Testing below the file layer: Options.VFS names a SQLite VFS registered in
// the process; storetest/powerfail is one that forgets un-synced writes.
package store
