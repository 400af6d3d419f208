#!lua flags=allow-oom
-- Ends a session.
-- KEYS: 1 directory's head
-- ARGV: 1 key's hash, 2 clock
-- Returns 1 ended, 0 there was none.
--#include clock session
local account = session(ARGV[1])
if not account then
  return 0
end
redis.call('DEL', dir .. ':s:' .. ARGV[1])
redis.call('ZREM', dir .. ':l:' .. account, ARGV[1])
return 1
