-- Documents that Trust has signed or admitted, in the order in which they are
-- logged: charters, policies, enrolments, contracts, closings.
CREATE TABLE trust_document (
	seq      INTEGER PRIMARY KEY,
	type     TEXT NOT NULL,
	digest   BLOB NOT NULL UNIQUE,
	envelope BLOB NOT NULL -- CBOR
) STRICT;

-- Contracts from their award on. A row without a document is being funded.
CREATE TABLE trust_contract (
	number   INTEGER PRIMARY KEY,
	terms    BLOB NOT NULL,   -- the payload with funded_ms = 0
	document BLOB             -- digest, once signed
) STRICT;
