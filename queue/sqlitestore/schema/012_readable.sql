-- For who looks into the file: states as their letters, see queue/message.go, and times in UTC.
CREATE VIEW message_readable AS SELECT
    id, tracker, char(status) AS status, reason,
    strftime('%Y-%m-%d %H:%M:%f', submit_ms / 1000.0, 'unixepoch') AS submitted,
    strftime('%Y-%m-%d %H:%M:%f', nullif(update_ms, 0) / 1000.0, 'unixepoch') AS updated,
    strftime('%Y-%m-%d %H:%M:%f', nullif(expires_ms, 0) / 1000.0, 'unixepoch') AS expires,
    tries, acked, parts, text
FROM message;

-- Trackers are looked up by themselves only.
DROP INDEX IF EXISTS device_account;
DROP INDEX IF EXISTS device_former;
