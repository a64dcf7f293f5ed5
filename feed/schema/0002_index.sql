-- What feed_logged holds, by what it is about: a start reads this, and of members' and
-- organisations' enrolments nothing else.
CREATE TABLE feed_index (
	seq       INTEGER PRIMARY KEY, -- of feed_logged
	role      TEXT NOT NULL,       -- member or org; empty for any other document
	person    TEXT NOT NULL,
	version   INTEGER NOT NULL,
	subject   BLOB,                -- of a member
	registrar TEXT NOT NULL,
	issued    INTEGER NOT NULL     -- Unix ms
) STRICT;
CREATE INDEX feed_index_person ON feed_index (role, person, version);
CREATE INDEX feed_index_subject ON feed_index (subject);
