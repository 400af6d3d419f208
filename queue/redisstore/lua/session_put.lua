#!lua
-- Stores a session. Beyond the most of those in its list the oldest ones end.
-- KEYS: 1 directory's head
-- ARGV: 1 HASH of the account's row, 2 clock, 3 account, 4 key's hash, 5 created ms, 6 expires ms,
-- 7 most sessions in a list, 8 whose it is
-- Returns 1 stored, 0 there is no such account.
--#include clock session
local hash, who = ARGV[4], ARGV[8]
if redis.call('HEXISTS', ARGV[1], ARGV[3]) == 0 then
  return 0
end
local other = session(hash)
if other then
  redis.call('ZREM', list_of(other), hash)
end
keep(hash, who, ARGV[5], ARGV[6])
local list = list_of(who)
local extra = redis.call('ZCARD', list) - tonumber(ARGV[7])
if extra > 0 then
  for _, h in ipairs(redis.call('ZRANGE', list, 0, extra - 1)) do
    redis.call('DEL', dir .. ':s:' .. h)
  end
  redis.call('ZREMRANGEBYRANK', list, 0, extra - 1)
end
return 1
