#!lua flags=allow-oom
-- Ends pending messages of a partition whose time has run out.
-- KEYS: 1 memo of the lane, then partitions (once.inc.lua)
-- ARGV: 1 batch number, 2 clock, 3 partitions of the items, 4 PUBLISH or SPUBLISH, then for each
-- request: messages to look at
-- Returns 4 B each: messages ended 2 B, looked at 2 B.
--#include once clock state record wake change end
each(5, 1, function(i)
  local ended, seen, failed = expire(P, ARGV[i])
  if failed then
    error(failed)
  end
  return struct.pack('>I2I2', ended, seen)
end)
publish(ARGV[4])
tell(ARGV[4])
return finish()
