#!lua flags=allow-oom
-- Gives ownership up where the epoch is still the current one.
-- KEYS: 1 partition, 2 memo of the lane
-- ARGV: 1 batch number, 2 clock, then for each: tracker, epoch, when its device was last heard of (0: not told)
-- Returns 1 B each: 1 released, 0 not the current epoch.
--#include once clock state
local results = {}
for i = 3, #ARGV, 3 do
  local known = load(ARGV[i])
  local result = '\0'
  if known and e == tonumber(ARGV[i + 1]) then
    result = '\1'
    if owner ~= '' then
      owner, since = '', now
      heard(tonumber(ARGV[i + 2]))
      save_owner()
    end
  end
  results[#results + 1] = result
end
return finish(results)
