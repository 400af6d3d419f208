-- A batch is executed once, however often it arrives: KEYS[1] holds the number of the lane's last
-- batch and its results, ARGV[1] is this one's number. A batch that comes after a later one was
-- given up by its sender and must not be executed any more.
--
-- KEYS[2] and so on are the partitions in which something is to be done, in the order of their
-- first items; ARGV[3] has a byte for each item, the number of its partition. Only where one Redis
-- holds everything there are several of them.
local memo = call('GET', KEYS[1])
if memo then
  local last, this = parse('>I7', memo), tonumber(ARGV[1])
  if last == this then
    return cut(memo, 8)
  elseif last > this then
    return redis.error_reply('STALE batch ' .. ARGV[1])
  end
end

local K, P -- the partition in hand: key, number
local results, pending = {}, 0

-- each has the items executed, that at ARGV[i] with one(i), which returns its result; size is how
-- many arguments an item has, or a function of i that knows. An item that meets data which cannot
-- be read fails by itself.
local function each(first, size, one)
  local tags, i = {}, first
  local seen = 1
  for at = 1, #ARGV[3] do
    P = byte(ARGV[3], at)
    K = tags[P]
    if not K then
      seen = seen + 1
      K = KEYS[seen]
      tags[P] = K
    end
    local fine, result = pcall(one, i)
    if fine then
      results[2 * at - 1], results[2 * at] = '\0', result
    else
      result = cut(type(result) == 'table' and result.err or 'ERR ' .. tostring(result), 1, 200)
      results[2 * at - 1], results[2 * at] = '\1' .. char(#result), result
    end
    i = i + (type(size) == 'number' and size or size(i))
  end
end

-- count_pending notes a change of the number of pending messages, which operators watch. What a
-- batch changed is counted in one of its partitions: only the sum of all of them means anything.
local function count_pending(change) pending = pending + change end

-- answer returns the results: for each item a byte 0 and its result, or a byte 1, the length of an
-- error in 1 B and the error.
local function answer() return table.concat(results) end

-- finish remembers the results for an hour, longer than any repetition takes, and returns them.
local function finish()
  if pending ~= 0 then
    -- a counter that cannot be read fails no message; Check tells of it
    redis.pcall('INCRBY', K .. ':p', pending)
  end
  local r = answer()
  call('SET', KEYS[1], pack('>I7', tonumber(ARGV[1])) .. r, 'EX', 3600)
  return r
end
