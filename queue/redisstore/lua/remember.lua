#!lua
-- Keeps the answer to a client's idempotency key for 24 hours, unless there is one already, and
-- returns the one that counts. A repetition changes nothing.
-- KEYS: 1 partition
-- ARGV: 1 name of the key, 2 clock, 3 answer or '' to ask only
-- Returns the answer, '' if there is none.
--#include clock
local key = KEYS[1] .. ':a:' .. ARGV[1]
local known = redis.call('GET', key)
if known and struct.unpack('>I6', known) > now then
  return string.sub(known, 7)
end
if ARGV[3] ~= '' then
  redis.call('SET', key, struct.pack('>I6', now + 86400000) .. ARGV[3], 'EX', 86400)
end
return ARGV[3]
