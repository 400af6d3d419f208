#!lua flags=allow-oom
-- Marks incoming messages read: all of a request or none.
-- KEYS: 1 memo of the lane, then partitions (once.inc.lua)
-- ARGV: 1 batch number, 2 clock, 3 partitions of the items, 4 PUBLISH or SPUBLISH, then for each
-- request: number of messages, and for each of them: tracker, block, meta (tracker 8 B, slot 1 B)
-- Returns 1 B for each message: 0 no such incoming message, 1 read before, 2 unread until now.
--#include once clock state record change

local function state_of(blk, meta)
  local chunk = redis.call('GET', K .. ':c:' .. blk)
  local off = find(chunk, string.sub(meta, 1, 8), string.byte(meta, 9))
  return off and string.sub(chunk, off + 1, off + 1), off
end

each(5, function(i) return 1 + 3 * tonumber(ARGV[i]) end, function(i)
  local codes, all, last = {}, true, i + 3 * tonumber(ARGV[i])
  for j = i + 1, last, 3 do
    local status = state_of(ARGV[j + 1], ARGV[j + 2])
    if status == 'U' then
      codes[#codes + 1] = '\2'
    elseif status == 'R' then
      codes[#codes + 1] = '\1'
    else
      codes[#codes + 1] = '\0'
      all = false
    end
  end
  if not all then
    return table.concat(codes)
  end
  codes = {}
  for j = i + 1, last, 3 do
    local status, off = state_of(ARGV[j + 1], ARGV[j + 2])
    local code = '\1'
    if status == 'U' then
      load(K .. ':t:' .. ARGV[j])
    end
    if status == 'U' and live(tonumber(ARGV[j + 1])) then
      code = '\2'
      tick()
      touched(tonumber(ARGV[j + 1]))
      uc = uc - 1
      redis.call('SETRANGE', K .. ':c:' .. ARGV[j + 1], off, 'R\0' .. struct.pack('>I6', l))
      save_read()
      change(ARGV[4], 'R', string.sub(ARGV[j + 2], 1, 8), (tonumber(ARGV[j + 1]) * 64 + string.byte(ARGV[j + 2], 9)) * 256 + P)
    end
    codes[#codes + 1] = code
  end
  return table.concat(codes)
end)
tell(ARGV[4])
return finish()
