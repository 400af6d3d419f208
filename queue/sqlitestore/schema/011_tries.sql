-- How often a pending message was handed to its device since that answered last, and when first, 0 none.
ALTER TABLE message ADD COLUMN tries INTEGER NOT NULL DEFAULT 0;
ALTER TABLE message ADD COLUMN tried_ms INTEGER NOT NULL DEFAULT 0;
