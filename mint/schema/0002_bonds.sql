-- Bearer bonds as the vault has announced them. A version without a digest is still
-- to be signed and logged.
CREATE TABLE mint_bond (
	ord          INTEGER PRIMARY KEY, -- order of the announcements
	serial       INTEGER NOT NULL,
	face         INTEGER NOT NULL,    -- RT
	root         BLOB NOT NULL,
	key_hash     BLOB NOT NULL,
	certificates BLOB NOT NULL,       -- [[first, last]…], CBOR
	earliest     INTEGER NOT NULL,    -- Unix ms: it is issued then or later
	issued       INTEGER,             -- Unix ms
	digest       BLOB,
	place        INTEGER              -- in the log
) STRICT;
CREATE INDEX mint_bond_serial ON mint_bond (serial, ord);
CREATE INDEX mint_bond_unsigned ON mint_bond (ord) WHERE digest IS NULL;

-- Certificates that are bound to a bond which is not redeemed.
CREATE TABLE mint_bound (
	certificate INTEGER PRIMARY KEY,
	bond        INTEGER NOT NULL
) STRICT;
CREATE INDEX mint_bound_bond ON mint_bound (bond);
