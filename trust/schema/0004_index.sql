-- What trust_document holds, by what it is about: a start reads this, and of members' and
-- organisations' enrolments nothing else.
CREATE TABLE trust_index (
	seq       INTEGER PRIMARY KEY, -- of trust_document
	role      TEXT NOT NULL,       -- member or org; empty for any other document
	person    TEXT NOT NULL,
	version   INTEGER NOT NULL,
	subject   BLOB,                -- of a member
	registrar TEXT NOT NULL,
	issued    INTEGER NOT NULL     -- Unix ms
) STRICT;
CREATE INDEX trust_index_person ON trust_index (role, person, version);
CREATE INDEX trust_index_subject ON trust_index (subject);

-- Whose enrolment has named a key first.
CREATE TABLE trust_key (
	keyid   TEXT PRIMARY KEY,
	account TEXT NOT NULL,
	seq     INTEGER NOT NULL -- of trust_document
) STRICT;
CREATE INDEX trust_key_seq ON trust_key (seq);
