-- A contract from its proposal to its end. It takes the place of trust_contract, which
-- knew contracts from their award on.
CREATE TABLE trust_case (
	number      INTEGER PRIMARY KEY,
	proposal    BLOB UNIQUE,      -- digest; NULL where there was none
	envelope    BLOB,             -- the signed proposal, CBOR
	terms       BLOB NOT NULL,    -- the contract's payload; funded_ms is 0 until it is funded
	state       TEXT NOT NULL,
	reason      TEXT NOT NULL,    -- of a rejection or an early end
	changed     INTEGER NOT NULL, -- Unix ms, when the state was entered
	document    BLOB,             -- digest of the signed contract
	accepted    INTEGER NOT NULL, -- ore, as Trust last saw it
	accepted_ms INTEGER NOT NULL  -- Unix ms, when it saw that
) STRICT;

INSERT INTO trust_case (number, terms, state, reason, changed, document, accepted, accepted_ms)
SELECT number, terms, CASE WHEN document IS NULL THEN 'awarded' ELSE 'funded' END, '', 0, document, 0, 0 FROM trust_contract;

DROP TABLE trust_contract;

-- What moved a contract along, as it was signed.
CREATE TABLE trust_instruction (
	number   INTEGER NOT NULL,
	digest   BLOB NOT NULL,
	envelope BLOB NOT NULL, -- CBOR
	PRIMARY KEY (number, digest)
) STRICT;
