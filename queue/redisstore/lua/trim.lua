#!lua flags=allow-oom
-- Removes old blocks: those without a pending message and with nothing as new as the cutoff. The
-- tail block goes only when it is the tracker's last.
-- KEYS: 1 memo of the lane, then partitions (once.inc.lua)
-- ARGV: 1 batch number, 2 clock, 3 partitions of the items, 4 not used, then for each request:
-- index in the partition's list of blocks, blocks to look at, cutoff ms, most messages to remove
-- Returns 12 B each: messages removed 4 B, index to go on at 4 B, blocks looked at 2 B, of them
-- young 2 B.
--#include once clock state

-- weigh returns what a chunk holds, pending -1 if it must stay.
local function weigh(chunk, cutoff)
  local count, open, unread, at = 0, 0, 0, 9
  while at + 33 <= #chunk do
    local status = string.byte(chunk, at + 1)
    if status == 80 or struct.unpack('>I6', chunk, at + 24) >= cutoff then
      return nil
    end
    if status == 85 then
      unread = unread + 1
    elseif status ~= 82 and status ~= 68 and status ~= 86 then
      open = open + 1
    end
    count = count + 1
    local x, y, v = string.byte(chunk, at + 31, at + 33)
    at = at + 33 + x * 65536 + y * 256 + v
  end
  return count, open, unread
end

-- drop removes block blk of the tracker in hand.
local function drop(T, blk, open, unread)
  redis.call('DEL', K .. ':c:' .. blk)
  oc, uc, k = oc - open, uc - unread, k - 1
  local dir = K .. ':x:' .. T
  if k <= 1 then
    redis.call('DEL', dir)
  else
    redis.call('ZREM', dir, struct.pack('>I5', tonumber(blk)))
  end
  if k == 0 then
    sub, rst, w = 0, 0, 0
  end
  save_log()
end

local changed = false
each(5, 4, function(i)
  local index, cutoff, most = tonumber(ARGV[i]), tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  local blocks = redis.call('LRANGE', K .. ':q', index, index + tonumber(ARGV[i + 1]) - 1)
  local removed, gone, young, seen = 0, 0, 0, 0
  for j, blk in ipairs(blocks) do
    local chunk = redis.call('GET', K .. ':c:' .. blk)
    local take = not chunk
    if chunk then
      if struct.unpack('>I6', chunk, 33) >= cutoff then
        young = young + 1
      else
        local count, open, unread = weigh(chunk, cutoff)
        if count and removed + count > most and removed > 0 then
          break
        end
        if count and count <= most then
          local T = string.format('%.0f', (struct.unpack('>i8', chunk)))
          load(K .. ':t:' .. T)
          if not live(tonumber(blk)) then
            redis.call('DEL', K .. ':c:' .. blk)
            removed, take = removed + count, true
          elseif k == 1 or b ~= tonumber(blk) then
            drop(T, blk, open, unread)
            removed, take = removed + count, true
          end
        end
      end
    end
    if take then
      redis.call('LSET', K .. ':q', index + j - 1, '')
      gone = gone + 1
    end
    seen = j
  end
  if gone > 0 then
    changed = true
    redis.call('LREM', K .. ':q', gone, '')
  end
  return struct.pack('>I4I4I2I2', removed, index + seen - gone, seen, young)
end)
if not changed then
  return answer() -- nothing to remember: asking again gives the same
end
return finish()
