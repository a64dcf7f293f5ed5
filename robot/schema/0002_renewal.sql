-- Reports that a new version of the robot's enrolment left behind: they begin
-- before it and lie behind the place where it cut the chain, so no digger takes
-- them. They are kept for whoever wants to know what was lost.
CREATE TABLE left_behind (
    version  INTEGER NOT NULL, -- of the enrolment that cut the chain
    seq      INTEGER NOT NULL,
    digest   BLOB    NOT NULL CHECK (length(digest) = 32),
    contract TEXT    NOT NULL,
    last_end INTEGER NOT NULL,
    envelope BLOB    NOT NULL, -- CBOR
    PRIMARY KEY (version, seq, digest)
) STRICT;
