-- Where accounts have their events sent to. A lease says which node delivers until when.
CREATE TABLE webhook (
    account  INTEGER PRIMARY KEY,
    url      TEXT    NOT NULL,
    secret   TEXT    NOT NULL,
    revision INTEGER NOT NULL,
    progress TEXT    NOT NULL, -- JSON object
    node     TEXT    NOT NULL DEFAULT '',
    until_ms INTEGER NOT NULL DEFAULT 0
);
