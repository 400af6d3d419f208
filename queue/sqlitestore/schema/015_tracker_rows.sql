-- What sends and acks change of a tracker is not kept with it: pending messages and the newest one are found by their indexes. change_ms and last_out are as of when the row was
-- written, and messages may say more. An earlier version would take such a row for all there is, so it has to refuse the file.
ALTER TABLE tracker DROP COLUMN last_ms;
ALTER TABLE tracker DROP COLUMN pending;
