-- What the mint has logged and this station has to know: charters, policies,
-- enrolments, contracts and closings, in the order of the log.
CREATE TABLE feed_logged (
	seq      INTEGER PRIMARY KEY, -- of the mint's feed
	envelope BLOB NOT NULL        -- CBOR
) STRICT;
