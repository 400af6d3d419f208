#!lua
-- Leaves block numbers out: the next block of the partition has a greater one than ARGV[1].
-- KEYS: 1 partition
-- ARGV: 1 block number
-- Returns 1 if numbers were left out.
local key = KEYS[1] .. ':blk'
if tonumber(redis.call('GET', key) or 0) >= tonumber(ARGV[1]) then
  return 0
end
redis.call('SET', key, ARGV[1])
return 1
