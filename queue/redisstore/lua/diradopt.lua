#!lua flags=allow-oom
-- Takes the directory as it is, be it empty, as that of the store under a new identity. Who has
-- seen any version before has to begin anew.
-- KEYS: 1 directory's head
-- ARGV: 1 identity, 2 least version
local dir = KEYS[1]
redis.call('SET', dir .. ':id', ARGV[1])
local version = redis.call('HGET', dir, 'version') or '0'
local next = string.format('%d', math.max(tonumber(version) + 1000, tonumber(ARGV[2])))
redis.call('HSET', dir, 'version', next)
redis.call('ZADD', dir .. ':seals', next, version)
return 1
