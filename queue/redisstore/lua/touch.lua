#!lua flags=allow-oom
-- Notes when devices were last heard of, where the epoch is still the current one.
-- KEYS: 1 partition, 2 memo of the lane
-- ARGV: 1 batch number, 2 clock, then for each: tracker, epoch, ms
-- Returns 1 B each, 0.
--#include once clock state
local results = {}
for i = 3, #ARGV, 3 do
  if load(ARGV[i]) and e == tonumber(ARGV[i + 1]) and owner ~= '' then
    local before = seen
    heard(tonumber(ARGV[i + 2]))
    if seen ~= before then
      redis.call('SETRANGE', tkey, 70, struct.pack('>I6', seen))
    end
  end
  results[#results + 1] = '\0'
end
return finish(results)
