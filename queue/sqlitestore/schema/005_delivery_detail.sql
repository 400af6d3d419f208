-- Characters of an outgoing message that its device could not show.
ALTER TABLE message ADD COLUMN replaced INTEGER NOT NULL DEFAULT 0;

-- Pending messages by the end of their time.
CREATE INDEX message_expires ON message (expires_ms) WHERE status = 80 AND expires_ms > 0;

-- What was answered to a client's idempotency key.
CREATE TABLE answer (
    account  INTEGER NOT NULL,
    key      TEXT    NOT NULL,
    answer   BLOB    NOT NULL,
    until_ms INTEGER NOT NULL,
    PRIMARY KEY (account, key)
) WITHOUT ROWID;
CREATE INDEX answer_until ON answer (until_ms);
