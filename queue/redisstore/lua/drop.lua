#!lua flags=allow-oom
-- Cuts a tracker off from its messages because it was removed: nothing is pending, its session is
-- told that it has ended, later messages begin anew. Done once for a removal.
-- KEYS: 1 partition
-- ARGV: 1 version of the removal, 2 clock, 3 PUBLISH or SPUBLISH, 4 tracker, 5 tracker 8 B, 6 key
-- for the directory of its blocks
-- Returns 1 if there are blocks to be removed.
local K = KEYS[1]
--#include clock state wake change
local T, version, rest = ARGV[4], tonumber(ARGV[1]), ARGV[6]
local mark = K .. ':z:' .. T
local done = redis.call('GET', mark)
if not done or struct.unpack('>I7', done) < version then
  -- A week is longer than any of this is repeated, and than what send.lua needs the block for.
  redis.call('SET', mark, struct.pack('>I7I5', version, tonumber(redis.call('GET', K .. ':blk') or 0)), 'EX', 604800)
  redis.call('DEL', K .. ':f:' .. T, K .. ':d:' .. T, K .. ':h:' .. T)
  if load(K .. ':t:' .. T) then
    if owner ~= '' then
      wake('K' .. ARGV[5] .. struct.pack('>I6', e))
      change(ARGV[3], 'O', ARGV[5], 1, now)
    end
    if pc > 0 then
      redis.call('DECRBY', K .. ':p', pc)
    end
    if k == 1 then
      redis.call('DEL', K .. ':c:' .. string.format('%d', b))
    elseif k > 1 then
      redis.call('RENAME', K .. ':x:' .. T, rest)
    end
    pc, oc, rst, sub, n, z, no, pf, uc, b, k, w = 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
    e, owner, since, seen = e + 1, '', 0, 0
    save_owner()
    publish(ARGV[3])
    tell(ARGV[3])
  end
end
return redis.call('EXISTS', rest)
