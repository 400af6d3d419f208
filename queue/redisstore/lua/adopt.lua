#!lua flags=allow-oom
-- Takes what a partition holds, be it nothing, as part of the store under a new identity. Blocks
-- from before are closed, and numbers that were given after this state are left out.
-- KEYS: 1 partition
-- ARGV: 1 identity, 2 least number of the next block
local K = KEYS[1]
redis.call('SET', K .. ':id', ARGV[1])
local last = tonumber(redis.call('GET', K .. ':blk') or 0) + 1024
last = string.format('%d', math.max(last, tonumber(ARGV[2])))
redis.call('SET', K .. ':blk', last)
redis.call('SET', K .. ':seal', last)
return 1
