-- What scripts call for every item: a global costs two look-ups each time.
local call, pack, parse = redis.call, struct.pack, struct.unpack
local byte, char, cut, text = string.byte, string.char, string.sub, string.format

-- Every script begins with this: a Redis that has lost the store's data, or holds another store,
-- gives out nothing and takes nothing. The caller's identity of the store comes last of ARGV; what
-- follows does not see it.
if redis.call('GET', string.match(KEYS[1], '^{.-}') .. ':id') ~= table.remove(ARGV) then
  return redis.error_reply('LOST the store is another one')
end
