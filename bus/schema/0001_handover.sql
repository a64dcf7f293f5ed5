-- Messages of a producer of this station, kept until every consumer's mark has passed.
CREATE TABLE bus_outbox (
	producer TEXT    NOT NULL,
	seq      INTEGER NOT NULL CHECK (seq > 0),
	prev     BLOB    NOT NULL CHECK (length(prev) = 32),
	digest   BLOB    NOT NULL CHECK (length(digest) = 32),
	subject  TEXT    NOT NULL,
	body     BLOB    NOT NULL,
	parent   TEXT    NOT NULL,
	state    TEXT    NOT NULL,
	PRIMARY KEY (producer, seq)
) STRICT;

-- Who takes them, and how far each has got.
CREATE TABLE bus_consumer (
	producer TEXT    NOT NULL,
	consumer TEXT    NOT NULL,
	seq      INTEGER NOT NULL,
	digest   BLOB    NOT NULL CHECK (length(digest) = 32),
	PRIMARY KEY (producer, consumer)
) STRICT, WITHOUT ROWID;

-- How far this station has got with the messages of others.
CREATE TABLE bus_mark (
	consumer TEXT    NOT NULL,
	producer TEXT    NOT NULL,
	seq      INTEGER NOT NULL,
	digest   BLOB    NOT NULL CHECK (length(digest) = 32),
	PRIMARY KEY (consumer, producer)
) STRICT, WITHOUT ROWID;
