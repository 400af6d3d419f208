-- Every script begins with this: a Redis that has lost the store's data, or holds another store,
-- gives out nothing and takes nothing. The caller's identity of the store comes last of ARGV; what
-- follows does not see it.
if redis.call('GET', string.match(KEYS[1], '^{.-}') .. ':id') ~= table.remove(ARGV) then
  return redis.error_reply('LOST the store is another one')
end
