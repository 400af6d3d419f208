#!lua flags=allow-oom
-- Notes a node's report, or takes the node off, or just reads; reports of long ago are dropped.
-- KEYS: 1 HASH node -> time of its last report, blank, report
-- ARGV: 1 node or '', 2 clock, 3 report or '' to take the node off, 4 ms after which a node is
-- forgotten
-- Returns the time now, then each node and its value.
--#include clock
local function read() return redis.call('HGETALL', KEYS[1]) end
local rows = read()
if ARGV[1] ~= '' then
  if ARGV[3] == '' then
    redis.call('HDEL', KEYS[1], ARGV[1])
  else
    redis.call('HSET', KEYS[1], ARGV[1], string.format('%d ', now) .. ARGV[3])
  end
  for i = 1, #rows, 2 do
    if now - tonumber(string.match(rows[i + 1], '^%d+')) > tonumber(ARGV[4]) then
      redis.call('HDEL', KEYS[1], rows[i])
    end
  end
  rows = read()
end
table.insert(rows, 1, string.format('%d', now))
return rows
