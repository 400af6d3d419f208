#!lua flags=allow-oom
-- Copies rows of a committed import into place. Does nothing once that import is finished, so that several nodes may copy the same one.
-- KEYS: 1 directory's head
-- ARGV: 1 the head's pending import, 2 '' or the channel that is told that this was the last of it, 3 PUBLISH or SPUBLISH, 4 key to remove or '',
--       then for each row: key of the bucket, field, row or '' where it is removed
-- Returns 1 done, 0 the import is finished already.
if redis.call('HGET', KEYS[1], 'pending') ~= ARGV[1] then
  return 0
end
for i = 5, #ARGV, 3 do
  if ARGV[i + 2] == '' then
    redis.call('HDEL', ARGV[i], ARGV[i + 1])
  else
    redis.call('HSET', ARGV[i], ARGV[i + 1], ARGV[i + 2])
  end
end
if ARGV[4] ~= '' then
  redis.call('DEL', ARGV[4])
end
if ARGV[2] ~= '' then
  redis.call('HDEL', KEYS[1], 'pending')
  redis.call(ARGV[3], ARGV[2], redis.call('HGET', KEYS[1], 'version'))
end
return 1
