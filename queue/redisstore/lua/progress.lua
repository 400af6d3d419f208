#!lua flags=allow-oom
-- Notes how many parts of a pending message are acknowledged, and how often the next one was tried
-- since; never fewer than before for the same number of parts.
-- KEYS: 1 memo of the lane, then partitions (once.inc.lua)
-- ARGV: 1 batch number, 2 clock, 3 partitions of the items, 4 PUBLISH or SPUBLISH, then for each:
-- key of the tracker, key of the block, meta (tracker 8 B, block 5 B, slot 1 B, parts 2 B,
-- acknowledged 2 B, tries 1 B, first of them 6 B)
-- Returns 1 B each: 1 noted, 0 not.
--#include once clock state record change
each(5, 3, function(i)
  local chunk_key, meta = ARGV[i + 1], ARGV[i + 2]
  local blk, slot = parse('>I5B', meta, 9)
  local chunk = redis.call('GET', chunk_key)
  local off = find(chunk, string.sub(meta, 1, 8), slot)
  local result = '\0'
  if off and string.sub(chunk, off + 1, off + 1) == 'P' then
    local tried, was, acked = string.byte(chunk, off + 2), struct.unpack('>I2I2', chunk, off + 15)
    local parts, now_acked, tries, first = struct.unpack('>I2I2BI6', meta, 15)
    if parts ~= was or now_acked > acked or now_acked == acked and tries > tried then
      result = '\1'
      load(ARGV[i])
      tick()
      touched(blk)
      local head = 'P' .. string.char(tries) .. struct.pack('>I6I6', l, math.min(first, l))
      redis.call('SETRANGE', chunk_key, off, head .. string.sub(meta, 15, 18))
      save_counts()
      change(ARGV[4], 'A', string.sub(meta, 1, 8), (blk * 64 + slot) * 256 + P)
    end
  end
  return result
end)
tell(ARGV[4])
return finish()
