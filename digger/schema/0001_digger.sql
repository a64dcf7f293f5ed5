-- What a digger keeps besides the assay's book: figures and refusals.
CREATE TABLE digger_robot (
	robot   TEXT PRIMARY KEY,
	reports INTEGER NOT NULL DEFAULT 0,
	void    INTEGER NOT NULL DEFAULT 0,
	ore     INTEGER NOT NULL DEFAULT 0,
	seen    INTEGER NOT NULL DEFAULT 0 -- sealed_ms of its last batch
) STRICT, WITHOUT ROWID;

-- Reports that did not count: void ones (their rule) and refused ones that are
-- authentic (their code). The last of each robot are kept.
CREATE TABLE digger_refusal (
	id       INTEGER PRIMARY KEY,
	time     INTEGER NOT NULL, -- Unix ms
	robot    TEXT NOT NULL,
	contract TEXT NOT NULL,
	seq      INTEGER NOT NULL,
	report   BLOB NOT NULL,    -- digest
	rule     TEXT NOT NULL,
	void     INTEGER NOT NULL, -- 1: in a batch with ore 0; 0: refused
	detail   TEXT NOT NULL,
	envelope BLOB              -- of a refused report
) STRICT;
CREATE INDEX digger_refusal_robot ON digger_refusal (robot, id);

-- How often each rule was broken, unauthenticated reports included.
CREATE TABLE digger_rule (
	rule  TEXT PRIMARY KEY,
	count INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
