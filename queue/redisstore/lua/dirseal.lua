#!lua flags=allow-oom
-- Notes which Redis process serves the directory. After a change the last versions may be lost:
-- they are left out, and who has seen them has to begin anew.
-- KEYS: 1 directory's head
-- ARGV: 1 identity of the Redis process
-- Returns 1 if it had changed.
local dir = KEYS[1]
-- Earlier versions kept indexes of what is unique, which nobody keeps any more: a pending change
-- without a name has them refuse to change anything, and keeps nobody from reading.
redis.call('HSETNX', dir, 'pending', '')
local head = redis.call('HMGET', dir, 'run', 'version')
if head[1] == ARGV[1] then
  return 0
end
redis.call('HSET', dir, 'run', ARGV[1])
if head[1] and head[2] then
  local next = redis.call('HINCRBY', dir, 'version', 1000)
  redis.call('ZADD', dir .. ':seals', string.format('%d', next), head[2])
  while redis.call('ZCARD', dir .. ':seals') > 64 do
    local oldest = redis.call('ZPOPMIN', dir .. ':seals')
    if tonumber(redis.call('HGET', dir, 'floor') or 0) < tonumber(oldest[2]) then
      redis.call('HSET', dir, 'floor', oldest[2])
    end
  end
end
return 1
