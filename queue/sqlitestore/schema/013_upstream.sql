-- The tracking server that answers a tracker's device, see queue/directory.go.
ALTER TABLE device ADD COLUMN upstream TEXT NOT NULL DEFAULT '';
