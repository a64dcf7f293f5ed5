-- The robot's own book: where its chain stands, the reports that the digger's
-- mark has not passed, and the readings of the report that is still open.
CREATE TABLE chain (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    robot    TEXT    NOT NULL,
    seq      INTEGER NOT NULL, -- of the last signed report, 0 for none
    digest   BLOB    NOT NULL CHECK (length(digest) = 32),
    last_end INTEGER NOT NULL, -- end of its last reading, Unix ms
    mark     INTEGER NOT NULL CHECK (mark <= seq) -- the digger has everything up to here
) STRICT;

CREATE TABLE report (
    seq      INTEGER PRIMARY KEY,
    digest   BLOB    NOT NULL UNIQUE CHECK (length(digest) = 32),
    contract TEXT    NOT NULL,
    last_end INTEGER NOT NULL,
    envelope BLOB    NOT NULL -- CBOR
) STRICT;

CREATE TABLE open_report (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    payload BLOB    NOT NULL -- as it would be signed next
) STRICT;
