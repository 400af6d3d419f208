-- The same messages as before. Whether a row belongs to the index is decided each time that one is written, and for that SQLite fills a temporary table where the condition is an IN.
DROP INDEX message_ended;
CREATE INDEX message_ended ON message (tracker) WHERE status = 69 OR status = 70 OR status = 83 OR status = 88;
