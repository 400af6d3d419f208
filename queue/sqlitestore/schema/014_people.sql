-- Texts that devices show, and say, as urgent.
ALTER TABLE message ADD COLUMN urgent INTEGER NOT NULL DEFAULT 0;
