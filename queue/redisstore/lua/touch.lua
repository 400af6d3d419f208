#!lua flags=allow-oom
-- Notes when devices were last heard of, where the epoch is still the current one.
-- KEYS: 1 memo of the lane, then partitions (once.inc.lua)
-- ARGV: 1 batch number, 2 clock, 3 partitions of the items, 4 not used, then for each: tracker,
-- epoch, ms
-- Returns 1 B each, 0.
--#include once clock state
each(5, 3, function(i)
  if load(K .. ':t:' .. ARGV[i]) and e == tonumber(ARGV[i + 1]) and owner ~= '' then
    local before = seen
    heard(tonumber(ARGV[i + 2]))
    if seen ~= before then
      redis.call('SETRANGE', tkey, '70', struct.pack('>I6', seen))
    end
  end
  return '\0'
end)
return finish()
