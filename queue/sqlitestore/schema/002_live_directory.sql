-- Accounts and trackers change while the service runs: every row has the version of its last change, and rows that are gone leave theirs behind.
INSERT INTO meta (name, value) VALUES ('directory_version', 0), ('directory_floor', 0); -- floor: changes up to it are told only from the beginning

ALTER TABLE account ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
UPDATE account SET version = n.position FROM (SELECT id, ROW_NUMBER() OVER (ORDER BY id) AS position FROM account) AS n WHERE n.id = account.id;
CREATE INDEX account_version ON account (version);

ALTER TABLE device ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
UPDATE device SET version = n.position + (SELECT COUNT(*) FROM account)
    FROM (SELECT tracker, ROW_NUMBER() OVER (ORDER BY tracker) AS position FROM device) AS n WHERE n.tracker = device.tracker;
CREATE INDEX device_version ON device (version);
CREATE INDEX device_account ON device (account);

UPDATE meta SET value = (SELECT COUNT(*) FROM account) + (SELECT COUNT(*) FROM device) WHERE name = 'directory_version';

CREATE TABLE gone (
    version INTEGER PRIMARY KEY,
    kind    INTEGER NOT NULL, -- 1 account, 2 tracker
    id      INTEGER NOT NULL
);
CREATE UNIQUE INDEX gone_id ON gone (kind, id);

-- Trackers whose messages are still to be removed.
CREATE TABLE purge (tracker INTEGER PRIMARY KEY);

CREATE TABLE session (
    hash       BLOB    PRIMARY KEY, -- SHA-256 of what the caller shows
    account    INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX session_account ON session (account, created_ms);
CREATE INDEX session_expires ON session (expires_ms);
