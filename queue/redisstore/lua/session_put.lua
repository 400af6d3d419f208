#!lua
-- Stores a session. Beyond the most of its account the oldest ones end.
-- KEYS: 1 directory's head
-- ARGV: 1 HASH of the account's row, 2 clock, 3 account, 4 key's hash, 5 created ms, 6 expires ms,
-- 7 most sessions of an account, 8 what follows them in its text
-- Returns 1 stored, 0 there is no such account.
--#include clock session
local account, hash = ARGV[3], ARGV[4]
if redis.call('HEXISTS', ARGV[1], account) == 0 then
  return 0
end
local other = session(hash)
if other then
  redis.call('ZREM', dir .. ':l:' .. other, hash)
end
keep(hash, account, ARGV[5], ARGV[6], ARGV[8])
local list = dir .. ':l:' .. account
local extra = redis.call('ZCARD', list) - tonumber(ARGV[7])
if extra > 0 then
  for _, h in ipairs(redis.call('ZRANGE', list, 0, extra - 1)) do
    redis.call('DEL', dir .. ':s:' .. h)
  end
  redis.call('ZREMRANGEBYRANK', list, 0, extra - 1)
end
return 1
