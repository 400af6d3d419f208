-- Which store this is, so that another file under its name is noticed; and 1 while the log beside the file may hold what the file does not: set once the store is open, taken back
-- when it is closed in order.
INSERT INTO meta (name, value) VALUES ('identity', random() & 0x7fffffffffffffff), ('open', 0);
