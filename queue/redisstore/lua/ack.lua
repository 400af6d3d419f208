#!lua flags=allow-oom
-- Marks outgoing messages acknowledged by the device, from whatever state.
-- KEYS: 1 memo of the lane, then partitions (once.inc.lua)
-- ARGV: 1 batch number, 2 clock, 3 partitions of the items, 4 PUBLISH or SPUBLISH,
--       then for each ack: key of the tracker, key of the block, meta (tracker 8 B, block 5 B,
--       slot 1 B, opened 1 B, check 4 B, replaced characters 2 B, where the record may be: digits
--       of the first byte 1 B or 0, the first and the last byte)
-- Returns 1 B each: 0 no such outgoing message, 1 acknowledged before, 2 now.
--#include once clock state record wake change end

-- look returns the beginning of a record and its offset. A record at a guessed place is the right
-- one only if both slot and check agree: text can look like anything. Offsets are texts, as Redis
-- takes them.
local function look(chunk_key, meta, slot, check)
  local digits = byte(meta, 22)
  if digits > 0 then
    local at = cut(meta, 23, 22 + digits)
    local r = call('GETRANGE', chunk_key, at, cut(meta, 23 + digits))
    if #r == 33 then
      local found, sign = parse('>BI4', r, 19)
      if found == slot and sign == check then
        return r, at
      end
    end
  end
  local chunk = call('GET', chunk_key)
  local off = find(chunk, cut(meta, 1, 8), slot)
  if off then
    return cut(chunk, off + 1, off + 33), text('%d', off)
  end
end

-- acknowledged returns what the record r begins with once it is.
local function acknowledged(r, at, first, opened, replaced)
  local parts, acked = parse('>I2I2', r, 15)
  local reason, last = cut(r, 2, 2), acked
  -- The reason of an acknowledged message says that the number of replaced characters stands where
  -- that of acknowledged parts was: those are all of them.
  if first then
    reason, last = '\0', parts
    if replaced ~= 0 then
      reason, last = '\1', replaced
    end
  end
  if opened then
    return 'V' .. reason .. (first and at or cut(r, 3, 8)) .. at .. pack('>I2I2', parts, last)
  elseif reason ~= '\0' or last ~= acked then
    return 'D' .. reason .. at .. '\0\0\0\0\0\0' .. pack('>I2I2', parts, last)
  end
  return 'D\0' .. at
end

read_ahead(5, 3)
each(5, 3, function(i)
  local chunk_key, meta = ARGV[i + 1], ARGV[i + 2]
  local block, slot, opened, check, replaced = parse('>I5BBI4I2', meta, 9)
  local r, at = look(chunk_key, meta, slot, check)
  local status = r and cut(r, 1, 1)
  if not status or status == 'U' or status == 'R' then
    return '\0'
  end
  local first = status ~= 'D' and status ~= 'V'
  opened = opened == 1
  if not first and not (opened and status == 'D') then
    return '\1'
  end
  load_counts(ARGV[i])
  if not live(block) then
    return '\1'
  end
  tick()
  touched(block)
  if first then
    oc = oc - 1
    if status == 'P' then
      pc = pc - 1
      count_pending(-1)
      if limited(r, 30) then
        call('ZREM', K .. ':e', member(block, slot, P))
      end
    end
  end
  call('SETRANGE', chunk_key, at, acknowledged(r, stamp(), first, opened, replaced))
  save_counts()
  if listening(ARGV[4]) then
    local t8, id = cut(meta, 1, 8), (block * 64 + slot) * 256 + P
    if first then
      change(ARGV[4], 'D', t8, id)
    end
    if opened then
      change(ARGV[4], 'V', t8, id)
    end
  end
  return first and '\2' or '\1'
end)
tell(ARGV[4])
return finish()
