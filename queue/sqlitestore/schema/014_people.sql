-- What an account's managers keep beside its keys, see queue/people.go.
ALTER TABLE account ADD COLUMN people TEXT; -- JSON object, NULL nothing
ALTER TABLE account_key ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE account_key ADD COLUMN role INTEGER NOT NULL DEFAULT 0; -- 0 manager, 1 dispatcher, 2 viewer
ALTER TABLE account_key ADD COLUMN end_ms INTEGER NOT NULL DEFAULT 0; -- UTC milliseconds, 0 never
ALTER TABLE device ADD COLUMN sorting TEXT; -- JSON object with group and tags, NULL nothing

-- Whose login a session is, 0 the account's own, and the stamp of that user's password.
ALTER TABLE session ADD COLUMN user INTEGER NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN stamp TEXT NOT NULL DEFAULT '';
DROP INDEX IF EXISTS session_account;
CREATE INDEX session_account ON session (account, user, created_ms);

-- Who wrote an outgoing message.
ALTER TABLE message ADD COLUMN author TEXT; -- JSON object, NULL not known

-- Texts to many trackers, and of each some targets at a time from number first on: tracker and message, 8 bytes each, big endian.
CREATE TABLE broadcast (
    account INTEGER NOT NULL,
    id      INTEGER NOT NULL,
    row     TEXT    NOT NULL, -- JSON object
    PRIMARY KEY (account, id)
) WITHOUT ROWID;
CREATE TABLE broadcast_target (
    account INTEGER NOT NULL,
    id      INTEGER NOT NULL,
    first   INTEGER NOT NULL,
    targets BLOB    NOT NULL,
    PRIMARY KEY (account, id, first)
) WITHOUT ROWID;

-- Texts that devices show, and say, as urgent.
ALTER TABLE message ADD COLUMN urgent INTEGER NOT NULL DEFAULT 0;
