#!lua flags=allow-oom
-- Marks unread incoming messages read, the newest first, at most 256 a request.
-- KEYS: 1 memo of the lane, then partitions (once.inc.lua)
-- ARGV: 1 batch number, 2 clock, 3 partitions of the items, 4 PUBLISH or SPUBLISH, then for each
-- request: tracker, how many blocks from the newest on need no look
-- Returns 7 B each: marked 2 B, blocks that need no look 4 B, 1 B: 1 = there are more.
--#include once clock state change
each(5, 2, function(i)
  local T, at = ARGV[i], tonumber(ARGV[i + 1])
  local marked = 0
  load(K .. ':t:' .. T)
  local found = uc > 0
  while uc > 0 and marked < 256 and at < k do
    local blk = b
    if k > 1 then
      blk = struct.unpack('>I5', redis.call('ZREVRANGE', K .. ':x:' .. T, at, at)[1])
    end
    local chunk_key = K .. ':c:' .. string.format('%d', blk)
    local chunk = redis.call('GET', chunk_key)
    local off = 9
    while off + 33 <= #chunk and uc > 0 and marked < 256 do
      if string.byte(chunk, off + 1) == 85 then
        tick()
        touched(blk)
        redis.call('SETRANGE', chunk_key, off, 'R\0' .. struct.pack('>I6', l))
        uc, marked = uc - 1, marked + 1
        change(ARGV[4], 'R', string.sub(chunk, 1, 8), (blk * 64 + string.byte(chunk, off + 19)) * 256 + P)
      end
      local x, y, v = string.byte(chunk, off + 31, off + 33)
      off = off + 33 + x * 65536 + y * 256 + v
    end
    if off + 33 > #chunk then
      at = at + 1
    end
  end
  local more = 0
  if uc > 0 and at < k then
    more = 1
  end
  if found then
    save_read()
  end
  return struct.pack('>I2I4B', marked, at, more)
end)
tell(ARGV[4])
return finish()
