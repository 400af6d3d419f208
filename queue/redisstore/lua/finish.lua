#!lua flags=allow-oom
-- Ends messages that are still pending; the owner is told of what it must not send any more
-- (expired, cancelled).
-- KEYS: 1 memo of the lane, then partitions (once.inc.lua)
-- ARGV: 1 batch number, 2 clock, 3 partitions of the items, 4 PUBLISH or SPUBLISH,
--       then for each: key of the tracker, key of the block, meta (tracker 8 B, block 5 B, slot 1 B, status 1 B, reason 1 B, replaced characters 2 B)
-- Returns 1 B each: 0 no such outgoing message, 1 not pending any more, 2 ended now.
--#include once clock state record wake change end
each(5, 3, function(i)
  local chunk_key, meta = ARGV[i + 1], ARGV[i + 2]
  local blk, slot = parse('>I5B', meta, 9)
  local chunk = redis.call('GET', chunk_key)
  local off = find(chunk, string.sub(meta, 1, 8), slot)
  local status = off and string.sub(chunk, off + 1, off + 1)
  local result = '\0'
  if status == 'P' then
    load(ARGV[i])
  end
  if status == 'P' and live(blk) then
    result = '\2'
    local mark, replaced = string.sub(meta, 15, 16), string.sub(meta, 17, 18)
    if replaced ~= '\0\0' then
      mark = string.sub(mark, 1, 1) .. '\1'
    end
    if string.sub(mark, 1, 1) == 'S' then
      redis.call('SETRANGE', chunk_key, off + 16, replaced)
    end
    stop(chunk, blk, off, mark, P)
    count_pending(-1)
  elseif status and status ~= 'U' and status ~= 'R' then
    result = '\1'
  end
  return result
end)
publish(ARGV[4])
tell(ARGV[4])
return finish()
