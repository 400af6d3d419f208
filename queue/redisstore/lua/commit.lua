#!lua
-- Commits an import of the directory: from now on it counts, although its rows are still to be copied into place. Refused if the directory has changed since it was read or
-- if another import is still being copied.
-- KEYS: 1 directory's head (HASH: version, pending, import)
-- ARGV: 1 version that was read, 2 id of the import, 3 its staged pieces, 4 beginning of their keys
-- Returns 1 committed, 0 refused.
local head = redis.call('HMGET', KEYS[1], 'version', 'pending', 'import')
if head[3] == ARGV[2] then
  return 1 -- the same import again, because its answer was lost
end
if (head[1] or '0') ~= ARGV[1] or head[2] then
  return 0
end
for i = 1, tonumber(ARGV[3]) do
  if redis.call('PERSIST', ARGV[4] .. i) == 0 then
    return redis.error_reply('ERR staged piece ' .. i .. ' is missing')
  end
end
redis.call('HINCRBY', KEYS[1], 'version', 1)
redis.call('HSET', KEYS[1], 'pending', ARGV[2] .. ' ' .. ARGV[3], 'import', ARGV[2])
return 1
