#!lua flags=allow-oom
-- Moves the end of a session.
-- KEYS: 1 directory's head
-- ARGV: 1 key's hash, 2 clock, 3 expires ms
-- Returns 1 moved, 0 there is none.
--#include clock session
local account, created, more = session(ARGV[1])
if not account then
  return 0
end
keep(ARGV[1], account, created, ARGV[3], more)
return 1
