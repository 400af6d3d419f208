#!lua flags=allow-oom
-- Ends pending messages of a partition whose time has run out.
-- KEYS: 1 partition, 2 memo of the lane
-- ARGV: 1 batch number, 2 clock, 3 partition number, 4 PUBLISH or SPUBLISH, then for each request: messages to look at
-- Returns 4 B each: messages ended 2 B, looked at 2 B.
--#include once clock state record wake change end
local results, off_queue = {}, 0
for i = 5, #ARGV do
  local ended, seen = expire(tonumber(ARGV[3]), ARGV[i])
  off_queue = off_queue + ended
  results[#results + 1] = struct.pack('>I2I2', ended, seen)
end
count_pending(-off_queue)
publish(ARGV[4])
tell(ARGV[4])
return finish(results)
