#!lua flags=allow-oom
-- Makes a node the owner of trackers under a new epoch and tells the former owner.
-- KEYS: 1 memo of the lane, then partitions (once.inc.lua)
-- ARGV: 1 batch number, 2 clock, 3 partitions of the items, 4 PUBLISH or SPUBLISH, then for each:
-- tracker, meta (tracker 8 B), node
-- Returns 16 B each: epoch 6 B, pending 3 B, id of the newest outgoing message 7 B.
--#include once clock state wake change
each(5, 3, function(i)
  load(K .. ':t:' .. ARGV[i])
  local owned = owner ~= '' and 1 or 0
  if owner ~= '' then
    wake('K' .. ARGV[i + 1] .. struct.pack('>I6', e))
  end
  e, owner, since = e + 1, ARGV[i + 2], now
  heard(now)
  save_owner()
  change(ARGV[4], 'O', ARGV[i + 1], owned, now)
  return struct.pack('>I6I3I7', e, pc, lo)
end)
publish(ARGV[4])
tell(ARGV[4])
return finish()
