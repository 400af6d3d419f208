-- Single numbers of the whole store.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
-- The greatest message number (id >> 8) that may have been handed out.
INSERT INTO meta (name, value) VALUES ('reserved', 0);

-- Hot state of a tracker: everything that a session or a sender needs without reading messages.
CREATE TABLE tracker (
    id        INTEGER PRIMARY KEY,
    last_ms   INTEGER NOT NULL, -- submit_ms of the newest message still there, 0 none
    change_ms INTEGER NOT NULL, -- the tracker's clock: no later change is dated before it
    pending   INTEGER NOT NULL,
    unread    INTEGER NOT NULL,
    last_out  INTEGER NOT NULL, -- id of the newest outgoing message ever, 0 none
    epoch     INTEGER NOT NULL,
    owner     TEXT    NOT NULL  -- node, '' none
);

-- Numbers in status are queue.Status: P 80, D 68, V 86, F 70, E 69, X 88, S 83; U 85, R 82. Times are UTC milliseconds, 0 none. Nothing is written to nonce any more.
CREATE TABLE message (
    id         INTEGER PRIMARY KEY,
    tracker    INTEGER NOT NULL,
    status     INTEGER NOT NULL,
    reason     INTEGER NOT NULL DEFAULT 0,
    submit_ms  INTEGER NOT NULL,
    update_ms  INTEGER NOT NULL DEFAULT 0,
    read_ms    INTEGER NOT NULL DEFAULT 0,
    change_ms  INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL DEFAULT 0,
    parts      INTEGER NOT NULL DEFAULT 0,
    acked      INTEGER NOT NULL DEFAULT 0,
    employee   INTEGER NOT NULL,
    nonce      INTEGER NOT NULL DEFAULT 0,
    reply_to   INTEGER NOT NULL,
    text       TEXT    NOT NULL,
    choices    TEXT -- JSON array, NULL none
);
-- Every index ends with the id by itself, so this one is the order of a list.
CREATE INDEX message_time ON message (tracker, submit_ms);
CREATE INDEX message_pending ON message (tracker) WHERE status = 80;
CREATE INDEX message_unread ON message (tracker) WHERE status = 85;
-- Ended without an ack: what a late ack may still mean.
CREATE INDEX message_ended ON message (tracker) WHERE status IN (69, 70, 83, 88);
-- Changed more than an hour after it was stored. Younger changes are found by message_time, so that the usual ack touches no index of change times.
CREATE INDEX message_late ON message (tracker, change_ms) WHERE change_ms > submit_ms + 3600000;

-- Client's idempotency keys.
CREATE TABLE idempotency (
    tracker  INTEGER NOT NULL,
    key      TEXT    NOT NULL,
    message  INTEGER NOT NULL,
    until_ms INTEGER NOT NULL,
    PRIMARY KEY (tracker, key)
) WITHOUT ROWID;
CREATE INDEX idempotency_until ON idempotency (until_ms);

-- The newest 32 device keys of a tracker, 32 bytes each: key, message, time, epoch (big endian).
CREATE TABLE dedupe (
    tracker INTEGER PRIMARY KEY,
    ring    BLOB NOT NULL
);

CREATE TABLE account (
    id        INTEGER PRIMARY KEY,
    login     TEXT NOT NULL,
    password  TEXT NOT NULL,
    title     TEXT NOT NULL,
    time_zone TEXT NOT NULL
);
CREATE UNIQUE INDEX account_login ON account (login) WHERE login <> '';

CREATE TABLE account_key (
    hash     BLOB    PRIMARY KEY, -- SHA-256 of the key
    account  INTEGER NOT NULL,
    position INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX account_key_account ON account_key (account, position);

CREATE TABLE device (
    tracker   INTEGER PRIMARY KEY,
    account   INTEGER NOT NULL,
    label     TEXT    NOT NULL,
    protocol  TEXT    NOT NULL,
    device_id TEXT    NOT NULL,
    password  TEXT    NOT NULL,
    model     TEXT    NOT NULL,
    blocked   INTEGER NOT NULL,
    chat      INTEGER NOT NULL,
    features  TEXT, -- JSON array, NULL none
    employee  INTEGER NOT NULL,
    settings  TEXT  -- JSON object, NULL none
);
CREATE UNIQUE INDEX device_login ON device (protocol, device_id);
