-- What each robot did under each contract.
CREATE TABLE digger_work (
	robot    TEXT NOT NULL,
	contract TEXT NOT NULL,
	reports  INTEGER NOT NULL,
	void     INTEGER NOT NULL,
	ore      INTEGER NOT NULL,
	PRIMARY KEY (robot, contract)
) STRICT, WITHOUT ROWID;
