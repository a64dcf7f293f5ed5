-- What the explorer remembers, so that nothing is counted or searched twice. All
-- of it but the tokens and the admissions follows from log, packs and postings.

-- How far it has read, and what it counted up to there: log (entries), ingots
-- (poured up to there), posting (seq), orders, collected, paid.
CREATE TABLE explorer_mark (
	name  TEXT PRIMARY KEY,
	value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Logged pours. ordinal counts the ingots of all pours before it: certificates
-- take ingots in that order.
CREATE TABLE explorer_pour (
	refinery TEXT NOT NULL,
	first    INTEGER NOT NULL, -- seq of its first ingot
	count    INTEGER NOT NULL,
	seq      INTEGER NOT NULL,
	sealed   INTEGER NOT NULL, -- Unix ms
	digest   BLOB NOT NULL,
	ordinal  INTEGER NOT NULL,
	PRIMARY KEY (refinery, first)
) STRICT, WITHOUT ROWID;
CREATE INDEX explorer_pour_ordinal ON explorer_pour (ordinal);

CREATE TABLE explorer_certificate (
	serial INTEGER PRIMARY KEY,
	digest BLOB NOT NULL,
	entry  INTEGER NOT NULL -- index in the log
) STRICT;

CREATE TABLE explorer_run (
	first  INTEGER PRIMARY KEY, -- serial of its first certificate
	count  INTEGER NOT NULL,
	seq    INTEGER NOT NULL,
	sealed INTEGER NOT NULL,
	digest BLOB NOT NULL
) STRICT;

-- Bearer tokens, by SHA-256.
CREATE TABLE explorer_token (
	hash    BLOB PRIMARY KEY,
	name    TEXT NOT NULL,
	role    TEXT NOT NULL,
	created INTEGER NOT NULL, -- Unix ms
	expires INTEGER NOT NULL, -- Unix ms
	revoked INTEGER           -- Unix ms
) STRICT, WITHOUT ROWID;
CREATE INDEX explorer_token_name ON explorer_token (name);

-- Members that this node's registrar has admitted lately, for enrol_per_day.
CREATE TABLE explorer_admission (
	digest BLOB PRIMARY KEY, -- of the enrolment
	time   INTEGER NOT NULL  -- Unix ms
) STRICT, WITHOUT ROWID;
CREATE INDEX explorer_admission_time ON explorer_admission (time);
