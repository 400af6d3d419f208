#!lua flags=allow-oom
-- Takes the ownership of trackers away and tells the owner, which ends the session; a new epoch
-- fences it in any case.
-- KEYS: 1 memo of the lane, then partitions (once.inc.lua)
-- ARGV: 1 batch number, 2 clock, 3 partitions of the items, 4 PUBLISH or SPUBLISH, then for each:
-- tracker, meta (tracker 8 B)
-- Returns 1 B each: 1 there was an owner, 0 none.
--#include once clock state wake change
each(5, 2, function(i)
  local result = '\0'
  if load(K .. ':t:' .. ARGV[i]) and owner ~= '' then
    result = '\1'
    wake('K' .. ARGV[i + 1] .. struct.pack('>I6', e))
    e, owner, since = e + 1, '', now
    save_owner()
    change(ARGV[4], 'O', ARGV[i + 1], 1, now)
  end
  return result
end)
publish(ARGV[4])
tell(ARGV[4])
return finish()
