#!lua flags=allow-oom
-- Forgets that a removed tracker's messages are to be removed, unless it was removed again since.
-- KEYS: 1 directory's head
-- ARGV: 1 tracker, 2 version of the removal
-- Returns 1 forgotten, 0 not.
local key = KEYS[1] .. ':drop'
if redis.call('HGET', key, ARGV[1]) ~= ARGV[2] then
  return 0
end
return redis.call('HDEL', key, ARGV[1])
