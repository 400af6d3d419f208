#!lua flags=allow-oom
-- Gives ownership up where the epoch is still the current one.
-- KEYS: 1 partition, 2 memo of the lane
-- ARGV: 1 batch number, 2 clock, 3 PUBLISH or SPUBLISH, then for each: tracker, meta (tracker 8 B), epoch, when its device was last heard of (0: not told)
-- Returns 1 B each: 1 released, 0 not the current epoch.
--#include once clock state change
local results = {}
for i = 4, #ARGV, 4 do
  local known = load(ARGV[i])
  local result = '\0'
  if known and e == tonumber(ARGV[i + 2]) then
    result = '\1'
    if owner ~= '' then
      owner, since = '', now
      heard(tonumber(ARGV[i + 3]))
      save_owner()
      change(ARGV[3], 'O', ARGV[i + 1], 1, now)
    end
  end
  results[#results + 1] = result
end
tell(ARGV[3])
return finish(results)
