-- The latest checkpoint that this witness cosigned of each log.
CREATE TABLE witness_log (
	origin  TEXT    NOT NULL PRIMARY KEY,
	size    INTEGER NOT NULL,
	root    BLOB    NOT NULL,
	signed  BLOB    NOT NULL, -- the note, with the log's lines
	seconds INTEGER NOT NULL  -- POSIX time of the latest cosignature; never falls
) STRICT;

-- Checkpoints that the log's keys signed and that do not continue what was
-- cosigned before.
CREATE TABLE witness_conflict (
	number  INTEGER PRIMARY KEY,
	origin  TEXT    NOT NULL,
	kind    TEXT    NOT NULL, -- forked: a proof in itself; unproven: no proof led from one to the other
	kept    BLOB    NOT NULL,
	offered BLOB    NOT NULL,
	body    BLOB    NOT NULL, -- the request
	seconds INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX witness_conflict_once ON witness_conflict (origin, kind, kept, offered);
