#!lua flags=allow-oom
-- Keeps the accounts' webhooks. Each is a field of three hashes: what it is, how far its delivery
-- has come, who delivers.
-- KEYS: 1 HASH account -> revision, blank, JSON of URL and secret; 2 HASH account -> JSON of the
-- progress; 3 HASH account -> number, blank, node that has the lease
-- ARGV: 1 what to do, 2 clock, then for 'put' account, JSON, progress of a new one; 'drop' account;
-- 'replay' account, position;
--       'save' account, node, revision, progress; 'lease' node, 1 to have or 0 to give up, then each account and the lease that may be taken from another; 'list' nothing
-- Returns for 'list' account, value and progress of each; for 'lease' each account that has a
-- webhook, and its lease; else 1 or 0.
--#include clock
local what = ARGV[1]

-- revision_after is a greater number than any that the account had, also of a webhook that was
-- removed.
local function revision_after(value)
  local was = tonumber(string.match(value or '', '^%d+') or 0)
  return math.max(was + 1, now)
end

if what == 'list' then
  local rows, list = redis.call('HGETALL', KEYS[1]), {}
  for i = 1, #rows, 2 do
    list[#list + 1] = rows[i]
    list[#list + 1] = rows[i + 1]
    list[#list + 1] = redis.call('HGET', KEYS[2], rows[i])
  end
  return list
end

if what == 'lease' then
  local node, leases = ARGV[3], {}
  for i = 5, #ARGV, 2 do
    if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1 then
      local lease = redis.call('HGET', KEYS[3], ARGV[i]) or ''
      local by = string.match(lease, ' (.*)$')
      if ARGV[4] == '1' and (not by or by == node or lease == ARGV[i + 1]) then
        lease = string.format('%d ', revision_after(lease)) .. node
        redis.call('HSET', KEYS[3], ARGV[i], lease)
      elseif ARGV[4] == '0' and by == node then
        lease = ''
        redis.call('HDEL', KEYS[3], ARGV[i])
      end
      leases[#leases + 1] = ARGV[i]
      leases[#leases + 1] = lease
    end
  end
  return leases
end

local account = ARGV[3]
local value = redis.call('HGET', KEYS[1], account)
if what == 'put' then
  redis.call('HSET', KEYS[1], account, string.format('%d ', revision_after(value)) .. ARGV[4])
  redis.call('HSETNX', KEYS[2], account, ARGV[5])
  return 1
end
if not value then
  return 0
end
if what == 'drop' then
  redis.call('HDEL', KEYS[1], account)
  redis.call('HDEL', KEYS[2], account)
  redis.call('HDEL', KEYS[3], account)
elseif what == 'replay' then
  local progress = cjson.decode(redis.call('HGET', KEYS[2], account))
  progress.position = tonumber(ARGV[4])
  redis.call('HSET', KEYS[2], account, cjson.encode(progress))
  redis.call('HSET', KEYS[1], account, string.format('%d', revision_after(value)) .. string.match(value, '^%d+( .*)$'))
else
  local by = string.match(redis.call('HGET', KEYS[3], account) or '', ' (.*)$')
  if by ~= ARGV[4] or string.match(value, '^%d+') ~= ARGV[5] then
    return 0
  end
  redis.call('HSET', KEYS[2], account, ARGV[6])
end
return 1
