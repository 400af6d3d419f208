-- Ids are the numbers themselves. They had 8 bits for partitions that this store does not have, and go on above the greatest one.
UPDATE meta SET value = value * 256 WHERE name = 'reserved';
