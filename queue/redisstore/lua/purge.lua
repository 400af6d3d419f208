#!lua flags=allow-oom
-- Removes some blocks of a tracker that drop.lua has cut off from them.
-- KEYS: 1 partition
-- ARGV: 1 key of the directory of its blocks, 2 most blocks to remove
-- Returns 1 if there are more.
local blocks = redis.call('ZPOPMIN', ARGV[1], ARGV[2])
local chunks = {}
for i = 1, #blocks, 2 do
  chunks[#chunks + 1] = KEYS[1] .. ':c:' .. string.format('%d', (struct.unpack('>I5', blocks[i])))
end
if #chunks > 0 then
  redis.call('DEL', unpack(chunks))
end
return redis.call('EXISTS', ARGV[1])
