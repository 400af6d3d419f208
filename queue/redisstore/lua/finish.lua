#!lua flags=allow-oom
-- Ends messages that are still pending; the owner is told of what it must not send any more (expired, cancelled).
-- KEYS: 1 partition, 2 memo of the lane
-- ARGV: 1 batch number, 2 clock, 3 partition number, 4 PUBLISH or SPUBLISH, then for each: tracker, block, meta (tracker 8 B, slot 1 B, status 1 B, reason 1 B)
-- Returns 1 B each: 0 no such outgoing message, 1 not pending any more, 2 ended now.
--#include once clock state record wake change
local P = tonumber(ARGV[3])
local results, off_queue = {}, 0
for i = 5, #ARGV, 3 do
  local T, blk, meta = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local chunk_key = K .. ':c:' .. blk
  local chunk = redis.call('GET', chunk_key)
  local t8, slot = string.sub(meta, 1, 8), string.byte(meta, 9)
  local off = find(chunk, t8, slot)
  local status = off and string.sub(chunk, off + 1, off + 1)
  local result = '\0'
  if status == 'P' then
    load(T)
  end
  if status == 'P' and live(T, tonumber(blk)) then
    result = '\2'
    tick()
    touched(tonumber(blk))
    pc, off_queue = pc - 1, off_queue + 1
    redis.call('SETRANGE', chunk_key, off, string.sub(meta, 10, 11) .. struct.pack('>I6', l))
    save_counts()
    local to, id = string.sub(meta, 10, 10), (tonumber(blk) * 64 + slot) * 256 + P
    change(to, t8, id)
    if owner ~= '' and (to == 'X' or to == 'E') then
      wake('E' .. t8 .. struct.pack('>I6I7', e, id) .. to)
    end
  elseif status and status ~= 'U' and status ~= 'R' then
    result = '\1'
  end
  results[#results + 1] = result
end
count_pending(-off_queue)
publish(ARGV[4])
tell(ARGV[4])
return finish(results)
