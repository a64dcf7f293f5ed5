-- What a refinery keeps besides the assay's book: ore that does not fill an
-- ingot yet, and its own chain.
CREATE TABLE refinery_open (
	contract TEXT PRIMARY KEY,
	spans    BLOB NOT NULL -- CBOR, as in an ingot record
) STRICT, WITHOUT ROWID;

-- One row: the end of the chain of pours.
CREATE TABLE refinery_chain (
	id     INTEGER PRIMARY KEY CHECK (id = 1),
	seq    INTEGER NOT NULL,
	digest BLOB NOT NULL,
	sealed INTEGER NOT NULL,
	ingot  INTEGER NOT NULL, -- seq of the next one
	covers INTEGER NOT NULL  -- largest sealed_ms of the batches taken
) STRICT;

-- Diggers that were stopped, by which message, and the fault in it.
CREATE TABLE refinery_stopped (
	digger   TEXT PRIMARY KEY,
	message  INTEGER NOT NULL,
	time     INTEGER NOT NULL, -- Unix ms
	artefact TEXT NOT NULL,
	digest   BLOB NOT NULL,
	rule     TEXT NOT NULL,
	detail   TEXT NOT NULL
) STRICT, WITHOUT ROWID;
