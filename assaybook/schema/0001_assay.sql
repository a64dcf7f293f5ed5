-- Where robots, contracts and diggers stand, by the judgement of one station.
CREATE TABLE assay_robot (
	robot    TEXT PRIMARY KEY,
	seq      INTEGER NOT NULL, -- of the last report in a batch
	digest   BLOB NOT NULL,
	last_end INTEGER NOT NULL  -- Unix ms, of the last report that is not void
) STRICT, WITHOUT ROWID;

CREATE TABLE assay_carry (
	robot    TEXT NOT NULL,
	contract TEXT NOT NULL,
	micro    INTEGER NOT NULL, -- micro-ore
	PRIMARY KEY (robot, contract)
) STRICT, WITHOUT ROWID;

CREATE TABLE assay_contract (
	contract TEXT PRIMARY KEY,
	accepted INTEGER NOT NULL -- ore
) STRICT, WITHOUT ROWID;

CREATE TABLE assay_digger (
	digger TEXT PRIMARY KEY,
	seq    INTEGER NOT NULL, -- of its last batch
	digest BLOB NOT NULL,
	sealed INTEGER NOT NULL  -- Unix ms
) STRICT, WITHOUT ROWID;
