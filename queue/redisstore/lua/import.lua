#!lua
-- Commits an import of the directory: from now on it counts, although its rows are still to be copied into place. Refused if the directory has changed since it was read.
-- KEYS: 1 directory's head (HASH: version, pending)
-- ARGV: 1 version that was read, 2 id of the import, 3 number of its staged pieces, 4 channel that tells about changes, 5 PUBLISH or SPUBLISH
-- Returns 1 committed, 0 refused.
local head = redis.call('HMGET', KEYS[1], 'version', 'pending', 'import')
if (head[1] or '0') ~= ARGV[1] or head[2] then
  -- The same import again, after its answer was lost.
  return head[3] == ARGV[2] and 1 or 0
end
local version = redis.call('HINCRBY', KEYS[1], 'version', 1)
redis.call('HSET', KEYS[1], 'pending', ARGV[2] .. ' ' .. ARGV[3], 'import', ARGV[2])
redis.call(ARGV[5], ARGV[4], string.format('%d', version))
return 1
