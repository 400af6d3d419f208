#!lua flags=allow-oom
-- Copies a piece of a committed change into place. Does nothing once that is done, so that several
-- nodes may copy the same one.
-- KEYS: 1 directory's head
-- ARGV: 1 the head's pending change, 2 key of the piece, or '' where all are copied
-- Returns 1 done, 0 the change is finished already.
--#include commands
if redis.call('HGET', dir, 'pending') ~= ARGV[1] then
  redis.call('HSETNX', dir, 'pending', '') -- an earlier version has finished it, see dirseal.lua
  return 0
end
if ARGV[2] == '' then
  redis.call('HSET', dir, 'pending', '')
  return 1
end
local piece = redis.call('GET', ARGV[2])
if piece then
  run(piece)
  redis.call('DEL', ARGV[2])
end
return 1
