#!lua flags=allow-oom
-- Commits a change of the directory: at once, or as staged pieces that are still to be copied into
-- place. Refused if the directory has changed since it was read or if another change is still being
-- copied.
-- KEYS: 1 directory's head (HASH: version, floor, pending: '' without a change that is being copied)
-- ARGV: 1 version that was read, 2 id of the change, 3 version after it, 4 its staged pieces or 0,
-- 5 beginning of their keys or the commands themselves
-- Returns 1 committed, 0 refused.
--#include commands
local known = dir .. ':k:' .. ARGV[2]
if redis.call('EXISTS', known) == 1 then
  return 1 -- the same change again, because its answer was lost
end
local head = redis.call('HMGET', dir, 'version', 'pending')
if (head[1] or '0') ~= ARGV[1] or (head[2] or '') ~= '' then
  return 0
end
local pieces = tonumber(ARGV[4])
for i = 1, pieces do
  if redis.call('PERSIST', ARGV[5] .. i) == 0 then
    return redis.error_reply('ERR staged piece ' .. i .. ' is missing')
  end
end
if pieces == 0 then
  run(ARGV[5])
  redis.call('HSET', dir, 'version', ARGV[3], 'pending', '')
else
  redis.call('HSET', dir, 'version', ARGV[3], 'pending', ARGV[2] .. ' ' .. ARGV[4])
end
redis.call('SET', known, '', 'EX', 3600)
return 1
