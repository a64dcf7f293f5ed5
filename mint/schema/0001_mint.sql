-- The book of the mint. The proof log and the packs hold what was logged; this
-- file holds what is on its way there and where each chain stands.

-- Counters: logged (entries of the proof log), next (place of the next entry),
-- ingots (ordinal of the next ingot).
CREATE TABLE mint_counter (
	name  TEXT PRIMARY KEY,
	value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The end of every chain of artefacts: reports by robot, batches by digger, pours
-- by refinery, certificates and runs of this mint, heads of the vault.
CREATE TABLE mint_chain (
	kind   TEXT NOT NULL, -- robot, batch, pour, certificate, run, head
	name   TEXT NOT NULL,
	seq    INTEGER NOT NULL,
	digest BLOB NOT NULL,
	sealed INTEGER NOT NULL, -- Unix ms
	extra  INTEGER NOT NULL, -- pour: seq of the next ingot
	PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

-- Artefacts that are durable here and not yet in the log, by their place in it.
CREATE TABLE mint_queue (
	place INTEGER PRIMARY KEY, -- index in the log
	type  TEXT NOT NULL,       -- payload type
	body  BLOB NOT NULL        -- envelope, pour message, run message or certificate payload
) STRICT;

-- Batches that no logged pour covers yet.
CREATE TABLE mint_batch (
	digger  TEXT NOT NULL,
	seq     INTEGER NOT NULL,
	message BLOB NOT NULL,
	PRIMARY KEY (digger, seq)
) STRICT, WITHOUT ROWID;

-- How far the pour at a place covers each digger's batches.
CREATE TABLE mint_cover (
	place  INTEGER NOT NULL,
	digger TEXT NOT NULL,
	seq    INTEGER NOT NULL,
	PRIMARY KEY (place, digger)
) STRICT, WITHOUT ROWID;

-- Ore of accepted reports that no ingot holds yet.
CREATE TABLE mint_ore (
	report   BLOB PRIMARY KEY,
	robot    TEXT NOT NULL,
	contract TEXT NOT NULL,
	seq      INTEGER NOT NULL, -- of the report
	ore      INTEGER NOT NULL,
	spent    INTEGER NOT NULL,
	first_ms INTEGER NOT NULL,
	last_ms  INTEGER NOT NULL,
	sealed   INTEGER NOT NULL, -- of its batch
	digger   TEXT NOT NULL,
	batch    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Ingots from their pour until they are in a certificate and checked.
CREATE TABLE mint_ingot (
	ord      INTEGER PRIMARY KEY, -- order of the pours in the log
	place    INTEGER NOT NULL,    -- of the pour in the log
	record   BLOB NOT NULL,
	first_ms INTEGER NOT NULL,
	last_ms  INTEGER NOT NULL,
	sealed   INTEGER NOT NULL,    -- of the pour
	serial   INTEGER,             -- certificate, once it is in one
	checked  INTEGER NOT NULL DEFAULT 0,
	fault    TEXT                 -- why it does not derive, found before it was in one
) STRICT;
CREATE INDEX mint_ingot_waiting ON mint_ingot (ord) WHERE serial IS NULL;
CREATE INDEX mint_ingot_unchecked ON mint_ingot (ord) WHERE serial IS NOT NULL AND checked = 0;

-- Certificates and the run that seals each.
CREATE TABLE mint_certificate (
	serial INTEGER PRIMARY KEY,
	digest BLOB NOT NULL,
	issued INTEGER NOT NULL,
	run    INTEGER NOT NULL,
	fault  TEXT -- what a later check found wrong with it
) STRICT;
