#!lua flags=no-writes
-- Reads a tracker's state and a run of its blocks, in one moment.
-- KEYS: 1 partition
-- ARGV: 1 tracker, 2 '+' towards newer blocks or '-' towards older ones,
--       3 where to begin: 'pf' the first block that may hold a pending message, but not before block ARGV[4]; no block at all where nothing is pending,
--         'end' the oldest block for '+', the newest for '-', 'after' block ARGV[4] or the next in that direction, 'ms' the block where the time ARGV[4] begins or ends,
--       5 bytes after which no further block is read, 6 most blocks
-- Returns state or '', next block or '' if there is none, then block number and chunk of each.
local K, T, forward, kind, at = KEYS[1], ARGV[1], ARGV[2] == '+', ARGV[3], ARGV[4]
local s = redis.call('GET', K .. ':t:' .. T)
if not s then
  return { '', '' }
end
local b, k = struct.unpack('>I5I4', s, 45)
local reply = { s, '' }
if k == 0 then
  return reply
end
if kind == 'pf' then
  if struct.unpack('>I3', s, 7) == 0 then
    return reply
  end
  kind, at = 'after', math.max(tonumber(at), (struct.unpack('>I5', s, 37)))
end
if k == 1 then
  if kind ~= 'after' or (forward and b >= tonumber(at)) or (not forward and b <= tonumber(at)) then
    reply[3] = string.format('%d', b)
    reply[4] = redis.call('GET', K .. ':c:' .. reply[3])
  end
  return reply
end

local dir = K .. ':x:' .. T
local rank
if kind == 'end' then
  rank = forward and 0 or k - 1
elseif kind == 'ms' then
  local bound = forward and '(' .. at or at
  local m = redis.call('ZREVRANGEBYSCORE', dir, bound, '-inf', 'LIMIT', 0, 1)
  if m[1] then
    rank = redis.call('ZRANK', dir, m[1])
  elseif forward then
    rank = 0
  else
    return reply
  end
else
  rank = redis.call('ZRANK', dir, struct.pack('>I5', tonumber(at)))
  if not rank then
    -- The block was trimmed since.
    local members = redis.call('ZRANGE', dir, 0, -1)
    local older = 0
    while older < #members and (struct.unpack('>I5', members[older + 1])) < tonumber(at) do
      older = older + 1
    end
    rank = forward and older or older - 1
  end
end

local budget, most = tonumber(ARGV[5]), tonumber(ARGV[6])
while rank >= 0 and rank < k do
  local blk = string.format('%d', (struct.unpack('>I5', redis.call('ZRANGE', dir, rank, rank)[1])))
  if budget <= 0 or most == 0 then
    reply[2] = blk
    return reply
  end
  local chunk = redis.call('GET', K .. ':c:' .. blk)
  reply[#reply + 1] = blk
  reply[#reply + 1] = chunk
  budget, most = budget - #chunk, most - 1
  rank = forward and rank + 1 or rank - 1
end
return reply
