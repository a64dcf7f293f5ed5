// Package mirror serves a reserve's log and packs over HTTP, and copies them from
// there into a directory that package archive verifies.
//
// # What is served
//
// [Handler] serves static files: the log as C2SP tlog-tiles below /log/ and the
// packs below /packs/. Any web server or rsync that publishes these two
// directories does the same; a client uses files alone. There is no list: the
// first line of a journal, packs/<class>.open, names the SHA-256 of the class's
// newest pack, whose first line names that of the pack before it, and so on.
//
// # What a pull does
//
// [Pull] brings a directory to a later state of the reserve: everything that is
// new since the last pull, while the reserve goes on writing. Nothing is taken
// unchecked: the checkpoint must be signed by the charter's log keys and continue
// the last one that this directory has seen; bundles of entries must hash to the
// tree of the checkpoint, from which every tile is computed again and none is
// copied; a pack must have the SHA-256 in its name and stand in its chain; every
// frame of a journal must agree with its digest. What the artefacts mean is left
// to archive.VerifyDir, which passes after a pull of an honest reserve; [Verify]
// does both.
//
// The work that is kept after a pull is never ahead of the checkpoint: the end of
// the work journal is cut where the pours under the checkpoint need no more of
// it, because a batch can only be judged by what is logged.
//
// # What survives a crash
//
// A pull collects in Dir/.mirror/stage and changes the directory's own files only
// at the end, after everything is on disk and a marker says so; from then on the
// next call (or [Recover]) finishes the exchange without the network. After kill
// -9 at any byte the directory is that of the last pull, or that of this one once
// Recover has run, and the next pull goes on where this one stopped. A checkpoint
// that was seen is written down before anything is built on it, so that a pull
// that was killed does not forget it.
//
// # What it trusts
//
// The roots that pin the charter; without any, the first charter is taken as it
// comes, once. The disk. Not the server: a log that forked or shrank is refused
// with [CodeForked] or [CodeShrank], both checkpoints in the error and, with the
// proof, in Dir/evidence. Waits, memory and what is read of one answer are
// bounded; how much disk a reserve's packs need is the reserve's to say.
//
// It implements the mirrors of the proof chain specification, section 5.
package mirror
