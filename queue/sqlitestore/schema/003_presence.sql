-- When a session began or the last one ended, and when the device was last heard of; UTC milliseconds, 0 never.
ALTER TABLE tracker ADD COLUMN since_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tracker ADD COLUMN seen_ms INTEGER NOT NULL DEFAULT 0;
