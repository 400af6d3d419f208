#!lua
-- Stores a broadcast. Beyond the most of its account the oldest ones go.
-- KEYS: 1 directory's head
-- ARGV: 1 ZSET of the account's broadcasts, 2 id, 3 most of an account, 4 HASH of the account's
-- row, 5 account, then field and value of the broadcast's HASH as often as needed
-- Returns 1 stored, 0 there is no such account.
local list = ARGV[1]
if redis.call('HEXISTS', ARGV[4], ARGV[5]) == 0 then
  return 0
end
redis.call('HSET', list .. ':' .. ARGV[2], unpack(ARGV, 6))
redis.call('ZADD', list, ARGV[2], ARGV[2])
local extra = redis.call('ZCARD', list) - tonumber(ARGV[3])
if extra > 0 then
  for _, id in ipairs(redis.call('ZRANGE', list, 0, extra - 1)) do
    redis.call('DEL', list .. ':' .. id)
  end
  redis.call('ZREMRANGEBYRANK', list, 0, extra - 1)
end
return 1
