#!lua flags=allow-oom
-- Ends a session.
-- KEYS: 1 directory's head
-- ARGV: 1 key's hash, 2 clock
-- Returns 1 ended, 0 there was none.
--#include clock session
local who = session(ARGV[1])
if not who then
  return 0
end
redis.call('DEL', dir .. ':s:' .. ARGV[1])
redis.call('ZREM', list_of(who), ARGV[1])
return 1
