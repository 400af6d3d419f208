#!lua flags=allow-oom
-- Gives ownership up where the epoch is still the current one.
-- KEYS: 1 memo of the lane, then partitions (once.inc.lua)
-- ARGV: 1 batch number, 2 clock, 3 partitions of the items, 4 PUBLISH or SPUBLISH, then for each:
-- tracker, meta (tracker 8 B), epoch, when its device was last heard of (0: not told)
-- Returns 1 B each: 1 released, 0 not the current epoch.
--#include once clock state change
each(5, 4, function(i)
  local known = load(K .. ':t:' .. ARGV[i])
  local result = '\0'
  if known and e == tonumber(ARGV[i + 2]) then
    result = '\1'
    if owner ~= '' then
      owner, since = '', now
      heard(tonumber(ARGV[i + 3]))
      save_owner()
      change(ARGV[4], 'O', ARGV[i + 1], 1, now)
    end
  end
  return result
end)
tell(ARGV[4])
return finish()
