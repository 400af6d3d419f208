#!lua flags=allow-oom
-- Marks outgoing messages acknowledged by the device, from whatever state.
-- KEYS: 1 memo of the lane, then partitions (once.inc.lua)
-- ARGV: 1 batch number, 2 clock, 3 partitions of the items, 4 PUBLISH or SPUBLISH,
--       then for each ack: tracker, block, meta (tracker 8 B, slot 1 B, opened 1 B, offset 3 B or 0, check 4 B, replaced characters 2 B)
-- Returns 1 B each: 0 no such outgoing message, 1 acknowledged before, 2 now.
--#include once clock state record wake change end

-- look returns the beginning of a record, its offset as Redis takes it (of a number it would make a
-- text by itself, far more slowly), and whether the driver has opened it. A record at a guessed
-- place is the right one only if both slot and check agree: text can look like anything.
local function look(chunk_key, meta)
  local slot, opened, off = struct.unpack('>BBI3', meta, 9)
  if off > 0 then
    local at = string.format('%d', off)
    local r = redis.call('GETRANGE', chunk_key, at, string.format('%d', off + 32))
    if #r == 33 and string.byte(r, 19) == slot and string.sub(r, 20, 23) == string.sub(meta, 14, 17) then
      return r, at, opened == 1
    end
  end
  local chunk = redis.call('GET', chunk_key)
  off = find(chunk, string.sub(meta, 1, 8), slot)
  if off then
    return string.sub(chunk, off + 1, off + 33), string.format('%d', off), opened == 1
  end
end

each(5, 3, function(i)
  local T, blk, meta = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local chunk_key = K .. ':c:' .. blk
  local r, off, opened = look(chunk_key, meta)
  local status = r and string.sub(r, 1, 1)
  local result = '\0'
  if status and status ~= 'U' and status ~= 'R' then
    result = '\1'
    local first = status ~= 'D' and status ~= 'V'
    if first or (opened and status == 'D') then
      load(T)
    end
    local block = tonumber(blk)
    if (first or (opened and status == 'D')) and live(T, block) then
      tick()
      touched(block)
      local at, id = struct.pack('>I6', l), (block * 64 + string.byte(meta, 9)) * 256 + P
      if first then
        result = '\2'
        change(ARGV[4], 'D', string.sub(meta, 1, 8), id)
        oc = oc - 1
        if status == 'P' then
          pc = pc - 1
          count_pending(-1)
          if limited(r, 30) then
            redis.call('ZREM', K .. ':e', member(block, string.byte(r, 19), P))
          end
        end
      end
      -- The reason of an acknowledged message says that the number of replaced characters stands
      -- where that of acknowledged parts was: those are all of them.
      local parts, reason, last = string.sub(r, 15, 16), string.sub(r, 2, 2), string.sub(r, 17, 18)
      if first then
        reason, last = '\0', parts
        if string.sub(meta, 18, 19) ~= '\0\0' then
          reason, last = '\1', string.sub(meta, 18, 19)
        end
      end
      if opened then
        change(ARGV[4], 'V', string.sub(meta, 1, 8), id)
        local updated = first and at or string.sub(r, 3, 8)
        redis.call('SETRANGE', chunk_key, off, 'V' .. reason .. updated .. at .. parts .. last)
      elseif reason ~= '\0' or last ~= string.sub(r, 17, 18) then
        redis.call('SETRANGE', chunk_key, off, 'D' .. reason .. at .. '\0\0\0\0\0\0' .. parts .. last)
      else
        redis.call('SETRANGE', chunk_key, off, 'D\0' .. at)
      end
      save_counts()
    end
  end
  return result
end)
tell(ARGV[4])
return finish()
