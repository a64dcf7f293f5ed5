-- Every entry of the log: by kind, and by what it names.
CREATE TABLE explorer_entry (
	entry  INTEGER PRIMARY KEY, -- index in the log
	kind   TEXT NOT NULL,       -- the name in the payload type
	digest BLOB NOT NULL
) STRICT;
CREATE INDEX explorer_entry_kind ON explorer_entry (kind, entry);
CREATE INDEX explorer_entry_digest ON explorer_entry (digest);

-- How many entries of each kind there are.
CREATE TABLE explorer_kind (
	kind  TEXT PRIMARY KEY,
	count INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The books after the last posting of each period in which there was one, and the
-- sums since genesis. every: 0 is now, else the length of the periods in ms; old
-- periods are deleted.
CREATE TABLE explorer_history (
	every        INTEGER NOT NULL,
	start        INTEGER NOT NULL, -- Unix ms
	supply       INTEGER NOT NULL,
	wallets      INTEGER NOT NULL,
	savings      INTEGER NOT NULL,
	bonds        INTEGER NOT NULL,
	available    INTEGER NOT NULL,
	deployed     INTEGER NOT NULL,
	invested     INTEGER NOT NULL,
	returns      INTEGER NOT NULL,
	deposits     INTEGER NOT NULL,
	disto        INTEGER NOT NULL,
	demurrage    INTEGER NOT NULL,
	paid         INTEGER NOT NULL, -- dividends since genesis
	collected    INTEGER NOT NULL, -- demurrage since genesis
	certificates INTEGER NOT NULL, -- minted since genesis
	orders       INTEGER NOT NULL, -- since genesis
	PRIMARY KEY (every, start)
) STRICT, WITHOUT ROWID;

-- Log and postings are read again from the beginning.
DELETE FROM explorer_mark;
DELETE FROM explorer_pour;
DELETE FROM explorer_certificate;
DELETE FROM explorer_run;
