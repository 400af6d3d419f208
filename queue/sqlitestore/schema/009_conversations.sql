-- A tracker that moves to another account leaves its messages under another key, see queue/conversation.go: message.tracker and tracker.id are such keys.
ALTER TABLE device ADD COLUMN conversation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE device ADD COLUMN former TEXT; -- JSON array of account and conversation, NULL none
CREATE INDEX device_former ON device (tracker) WHERE former IS NOT NULL;

-- Trackers that an import removed: whose their messages are when they come back.
CREATE TABLE kept (
    tracker      INTEGER PRIMARY KEY,
    account      INTEGER NOT NULL,
    conversation INTEGER NOT NULL,
    former       TEXT
);
