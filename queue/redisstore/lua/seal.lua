#!lua flags=allow-oom
-- Notes which Redis process serves the partition. After a change its last writes may be lost, so
-- that ids that somebody has seen could be given again: block numbers jump ahead and every block
-- from before is closed.
-- KEYS: 1 partition
-- ARGV: 1 identity of the Redis process
-- Returns 1 if it had changed.
local K = KEYS[1]
local was = redis.call('GET', K .. ':run')
if was == ARGV[1] then
  return 0
end
redis.call('SET', K .. ':run', ARGV[1])
if was then
  redis.call('SET', K .. ':seal', redis.call('INCRBY', K .. ':blk', 1024))
end
return 1
