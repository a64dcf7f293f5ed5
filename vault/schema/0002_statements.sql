-- What the vault needs to make a statement of solvency again, and to show each
-- member its place in the newest one.
CREATE TABLE vault_secret (
	name   TEXT PRIMARY KEY,
	secret BLOB NOT NULL -- of "solvency": 32 random bytes that blind accounts
) STRICT, WITHOUT ROWID;

CREATE TABLE vault_solvency (
	seq      INTEGER PRIMARY KEY, -- the posting that it is of
	issued   INTEGER NOT NULL,    -- Unix ms
	envelope BLOB NOT NULL,       -- CBOR, signed
	top      BLOB                 -- nodes over the blocks of leaves; of the newest only
) STRICT;

-- Leaves of the newest statement, in the order of the tree.
CREATE TABLE vault_leaf (
	seq    INTEGER NOT NULL,
	block  INTEGER NOT NULL, -- from 0
	leaves BLOB NOT NULL,
	PRIMARY KEY (seq, block)
) STRICT, WITHOUT ROWID;

-- Vetoes by an old key against a rebinding, by the digest of the enrolment.
CREATE TABLE vault_objection (
	digest  BLOB PRIMARY KEY,
	account TEXT NOT NULL,
	seq     INTEGER NOT NULL, -- posting of the order
	time    INTEGER NOT NULL  -- of it, Unix ms
) STRICT, WITHOUT ROWID;

-- How far everything is done that may lag behind the postings: "receipts" is the last
-- posting up to which every order has its receipt.
CREATE TABLE vault_done (
	name TEXT PRIMARY KEY,
	seq  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
