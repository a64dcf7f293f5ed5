-- The books of the reserve. Postings are never changed or deleted; rows are the
-- state that follows from them, so that a start need not run them all again.
CREATE TABLE vault_posting (
	seq         INTEGER PRIMARY KEY,
	time        INTEGER NOT NULL, -- Unix ms
	kind        TEXT NOT NULL,
	key         TEXT NOT NULL UNIQUE,
	hash        BLOB NOT NULL,
	fingerprint BLOB,             -- of the command; NULL where the key is never asked for
	body        BLOB NOT NULL     -- canonical CBOR, of which hash is the digest
) STRICT;

CREATE TABLE vault_row (
	tbl   TEXT NOT NULL,
	key   TEXT NOT NULL,
	value BLOB NOT NULL,
	PRIMARY KEY (tbl, key)
) STRICT, WITHOUT ROWID;

-- Signed receipts of orders, by the posting's key.
CREATE TABLE vault_receipt (
	key      TEXT PRIMARY KEY,
	envelope BLOB NOT NULL -- CBOR
) STRICT, WITHOUT ROWID;

-- Movements of wallets and savings, for statements. line counts within a
-- posting; balance is the account's after the whole line.
CREATE TABLE vault_entry (
	account TEXT NOT NULL,
	seq     INTEGER NOT NULL,
	line    INTEGER NOT NULL,
	amount  INTEGER NOT NULL,
	balance INTEGER NOT NULL,
	PRIMARY KEY (account, seq, line)
) STRICT, WITHOUT ROWID;

-- Dividends paid, with the running sum of what one member has received of all.
CREATE TABLE vault_dividend (
	seq     INTEGER PRIMARY KEY,
	time    INTEGER NOT NULL,
	amount  INTEGER NOT NULL,
	members INTEGER NOT NULL,
	each    INTEGER NOT NULL,
	sum     INTEGER NOT NULL
) STRICT;

-- What each certificate's minting did, for the explorer.
CREATE TABLE vault_mint (
	serial  INTEGER PRIMARY KEY,
	seq     INTEGER NOT NULL,
	time    INTEGER NOT NULL,
	supply  INTEGER NOT NULL,
	paid    INTEGER NOT NULL, -- to enterprises
	growth  INTEGER NOT NULL, -- kept by the StakeVault
	returns INTEGER NOT NULL, -- yield of investors
	disto   INTEGER NOT NULL
) STRICT;
