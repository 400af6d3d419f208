-- seals: up to which block number a partition was closed when another Redis process took over
-- (seal.lua).
local seals = {}
do
  local names = {}
  for i = 2, #KEYS do
    names[i - 1] = KEYS[i] .. ':seal'
  end
  for i, text in ipairs(redis.call('MGET', unpack(names))) do
    seals[KEYS[i + 1]] = tonumber(text or 0)
  end
end
