#!lua flags=allow-oom
-- Moves the end of a session.
-- KEYS: 1 directory's head
-- ARGV: 1 key's hash, 2 clock, 3 expires ms
-- Returns 1 moved, 0 there is none.
--#include clock session
local who, created = session(ARGV[1])
if not who then
  return 0
end
keep(ARGV[1], who, created, ARGV[3])
return 1
