// Package store keeps the books of a station in one SQLite file.
//
// It does four things: opens the file with the settings on which durability
// depends (WAL, synchronous=FULL, foreign keys), brings its tables up to date
// by forward-only checksummed migrations, runs one writer and at most two
// readers, and commits work of many callers in one transaction ([Group]).
//
// It trusts the operating system to keep what fsync acknowledged, and nothing
// else: SQLite's own structure is checked on demand by Check, the meaning of
// the rows by whoever owns them.
//
// What survives a crash: everything whose Update, or Do of a [Group],
// returned nil. A kill at any instant leaves the file as after the last
// commit; the next Open replays the write-ahead log. A transaction that was
// open is gone as a whole, so a consumer's state, its mark and its outbox
// (package bus) move together or not at all (spec/proof-chain.md §6).
//
// One process writes a file at a time; any number may read it with
// [OpenReadOnly], also while it is written, and also from a cold copy.
//
// Memory: the writer caches Options.CacheKiB of pages (512 KiB unless told
// otherwise), a reader half of that, each up to 64 prepared statements; the
// allocator of the pure Go SQLite spends about twice that on pages. A reader
// exists only while it is used, and a minute longer. A file of little use (a
// robot's spool) is well served by 128 KiB and one reader.
//
// Testing below the file layer: Options.VFS names a SQLite VFS registered in
// the process (modernc.org/sqlite/vfs registers read-only ones from an fs.FS,
// modernc.org/sqlite/lib any other), so that a test can put a layer that
// forgets un-synced writes under this package without changing it.
package store
