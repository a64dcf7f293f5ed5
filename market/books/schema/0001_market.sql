-- What the core searches by is in columns, the rest of a row in its body (JSON).
CREATE TABLE market_task (
	task_id  TEXT PRIMARY KEY,
	client   TEXT NOT NULL,
	status   TEXT NOT NULL,
	escrow   TEXT NOT NULL,
	agent    TEXT NOT NULL,
	due      INTEGER NOT NULL,
	created  INTEGER NOT NULL,
	preimage BLOB,
	body     TEXT NOT NULL
) STRICT;
CREATE INDEX market_task_due ON market_task (due);
CREATE INDEX market_task_created ON market_task (created, task_id);
CREATE INDEX market_task_client ON market_task (client, created, task_id);
CREATE INDEX market_task_status ON market_task (status, created, task_id);
CREATE INDEX market_task_agent ON market_task (agent, status);

CREATE TABLE market_proof (task_id TEXT PRIMARY KEY, payload BLOB NOT NULL) STRICT;

CREATE TABLE market_agent (agent_id TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;

CREATE TABLE market_invoice (
	hash    TEXT PRIMARY KEY,
	task_id TEXT NOT NULL,
	amount  INTEGER NOT NULL,
	expires INTEGER NOT NULL,
	open    INTEGER NOT NULL,
	counted INTEGER NOT NULL
) STRICT;
CREATE INDEX market_invoice_open ON market_invoice (open, hash);

CREATE TABLE market_withdrawal (
	id      TEXT PRIMARY KEY,
	client  TEXT NOT NULL,
	state   TEXT NOT NULL,
	created INTEGER NOT NULL,
	body    TEXT NOT NULL
) STRICT;
CREATE INDEX market_withdrawal_state ON market_withdrawal (state, created);
CREATE INDEX market_withdrawal_client ON market_withdrawal (client, created);

CREATE TABLE market_entry (
	entry_id   TEXT PRIMARY KEY,
	agent      TEXT NOT NULL,
	task_id    TEXT NOT NULL,
	sats       INTEGER NOT NULL CHECK (sats > 0),
	fee        INTEGER NOT NULL,
	status     TEXT NOT NULL,
	sweep_id   TEXT NOT NULL,
	txid       TEXT NOT NULL,
	created    INTEGER NOT NULL,
	address    TEXT NOT NULL,
	set_aside  TEXT NOT NULL,
	withdrawal INTEGER NOT NULL
) STRICT;
CREATE INDEX market_entry_sweep ON market_entry (sweep_id, withdrawal, created, entry_id);
CREATE INDEX market_entry_agent ON market_entry (agent, withdrawal, created, entry_id);

CREATE TABLE market_sweep (
	sweep_id TEXT PRIMARY KEY,
	live     INTEGER NOT NULL,
	planned  INTEGER NOT NULL,
	body     TEXT NOT NULL
) STRICT;
CREATE INDEX market_sweep_live ON market_sweep (live, planned);
CREATE INDEX market_sweep_planned ON market_sweep (planned, sweep_id);
CREATE TABLE market_payout (sweep_id TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
CREATE TABLE market_raw (txid TEXT PRIMARY KEY, raw BLOB NOT NULL) STRICT;

CREATE TABLE market_posting (
	seq        INTEGER PRIMARY KEY,
	at         INTEGER NOT NULL,
	what       TEXT NOT NULL,
	ref        TEXT NOT NULL,
	from_class TEXT NOT NULL,
	from_sub   TEXT NOT NULL,
	to_class   TEXT NOT NULL,
	to_sub     TEXT NOT NULL,
	sats       INTEGER NOT NULL CHECK (sats > 0)
) STRICT;
CREATE TABLE market_balance (class TEXT NOT NULL, sub TEXT NOT NULL, sats INTEGER NOT NULL, PRIMARY KEY (class, sub)) STRICT;
CREATE TABLE market_total (
	one       INTEGER PRIMARY KEY CHECK (one = 1),
	postings  INTEGER NOT NULL,
	received  INTEGER NOT NULL,
	escrow    INTEGER NOT NULL,
	client    INTEGER NOT NULL,
	accrued   INTEGER NOT NULL,
	fees      INTEGER NOT NULL,
	in_flight INTEGER NOT NULL,
	paid      INTEGER NOT NULL,
	CHECK (received + escrow + client + accrued + fees + in_flight + paid = 0),
	CHECK (escrow >= 0 AND client >= 0 AND accrued >= 0 AND fees >= 0 AND in_flight >= 0 AND paid >= 0)
) STRICT;
INSERT INTO market_total VALUES (1, 0, 0, 0, 0, 0, 0, 0, 0);

CREATE TABLE market_nonce (agent TEXT NOT NULL, nonce TEXT NOT NULL, expires INTEGER NOT NULL, PRIMARY KEY (agent, nonce)) STRICT;
CREATE INDEX market_nonce_expires ON market_nonce (expires);

CREATE TABLE market_answer (
	route  TEXT NOT NULL,
	name   TEXT NOT NULL,
	digest BLOB NOT NULL,
	body   TEXT NOT NULL,
	at     INTEGER NOT NULL,
	PRIMARY KEY (route, name)
) STRICT;
CREATE INDEX market_answer_at ON market_answer (at);

CREATE TABLE market_note (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

CREATE TABLE market_webhook (
	id      TEXT PRIMARY KEY,
	url     TEXT NOT NULL,
	body    TEXT NOT NULL,
	tries   INTEGER NOT NULL,
	due     INTEGER NOT NULL
) STRICT;
CREATE INDEX market_webhook_due ON market_webhook (due);
