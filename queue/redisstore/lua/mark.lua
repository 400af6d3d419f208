#!lua flags=allow-oom
-- Marks incoming messages read: all of a request or none.
-- KEYS: 1 partition, 2 memo of the lane
-- ARGV: 1 batch number, 2 clock, 3 partition number, 4 PUBLISH or SPUBLISH, then for each request: number of messages, and for each of them: tracker, block, meta (tracker 8 B, slot 1 B)
-- Returns 1 B for each message: 0 no such incoming message, 1 read before, 2 unread until now.
--#include once clock state record change
local P = tonumber(ARGV[3])

local function state_of(blk, meta)
  local chunk = redis.call('GET', K .. ':c:' .. blk)
  local off = find(chunk, string.sub(meta, 1, 8), string.byte(meta, 9))
  return off and string.sub(chunk, off + 1, off + 1), off
end

local results, i = {}, 5
while i <= #ARGV do
  local last = i + 3 * tonumber(ARGV[i])
  local first, all = #results, true
  for j = i + 1, last, 3 do
    local status = state_of(ARGV[j + 1], ARGV[j + 2])
    if status == 'U' then
      results[#results + 1] = '\2'
    elseif status == 'R' then
      results[#results + 1] = '\1'
    else
      results[#results + 1] = '\0'
      all = false
    end
  end
  if all then
    for j = i + 1, last, 3 do
      first = first + 1
      local status, off = state_of(ARGV[j + 1], ARGV[j + 2])
      results[first] = '\1'
      if status == 'U' then
        load(ARGV[j])
      end
      if status == 'U' and live(ARGV[j], tonumber(ARGV[j + 1])) then
        results[first] = '\2'
        tick()
        touched(tonumber(ARGV[j + 1]))
        uc = uc - 1
        redis.call('SETRANGE', K .. ':c:' .. ARGV[j + 1], off, 'R\0' .. struct.pack('>I6', l))
        save_read()
        change(ARGV[4], 'R', string.sub(ARGV[j + 2], 1, 8), (tonumber(ARGV[j + 1]) * 64 + string.byte(ARGV[j + 2], 9)) * 256 + P)
      end
    end
  end
  i = last + 1
end
tell(ARGV[4])
return finish(results)
