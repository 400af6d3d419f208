-- The tracker in hand, as state.go lays it out. load fills these, the save functions write what an
-- operation may have changed.
local l, pc, oc, rst, sub, n, z, no, lo, pf, uc, b, k, w, e, since, seen, owner
local tkey

-- ahead are states that were read together: one command for all costs far less than one for each.
-- load takes a state out, so that whoever loads it again sees what was saved meanwhile.
local ahead = {}

-- read_ahead reads the states of all items, of each of which the tracker's key is the first of size
-- arguments. load reads by itself what is missing or no string.
local function read_ahead(first, size)
  local keys, n = {}, 0
  for i = first, #ARGV, size do
    n = n + 1
    keys[n] = ARGV[i]
  end
  for i, s in ipairs(call('MGET', unpack(keys))) do
    ahead[keys[i]] = s
  end
end

local function stored(key)
  local s = ahead[key]
  if not s then
    return call('GET', key)
  end
  ahead[key] = nil
  return s
end

local function load(key)
  tkey = key
  local s = stored(key)
  if s then
    l, pc, oc, rst, sub, n, z, no, lo, pf, uc, b, k, w, e, since, seen = parse('>I6I3I3I6I6BI3BI7I5I3I5I4I5I6I6I6', s)
    owner = cut(s, 77)
  else
    l, pc, oc, rst, sub, n, z, no, lo, pf, uc, b, k, w, e, since, seen = 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
    owner = ''
  end
  return s
end

-- load_counts is load of what save_counts and live need; nothing else may be saved after it.
local function load_counts(key)
  tkey = key
  local s = stored(key)
  if s then
    l, pc, oc, rst = parse('>I6I3I3I6', s)
    b, k, w = parse('>I5I4I5', s, 45)
  else
    l, pc, oc, rst, b, k, w = 0, 0, 0, 0, 0, 0, 0
  end
end

-- save_counts: clock, pending, not acknowledged, last change outside the window.
local function save_counts() call('SETRANGE', tkey, '0', pack('>I6I3I3I6', l, pc, oc, rst)) end

-- save_read: save_tail with the number of unread messages.
local function save_read()
  call('SETRANGE', tkey, '0', pack('>I6I3I3I6I6BI3BI7I5I3', l, pc, oc, rst, sub, n, z, no, lo, pf, uc))
end

-- packed is the whole value.
local function packed()
  return pack('>I6I3I3I6I6BI3BI7I5I3I5I4I5I6I6I6', l, pc, oc, rst, sub, n, z, no, lo, pf, uc, b, k, w, e, since, seen) .. owner
end

-- save_log: everything that messages change.
local function save_log() call('SETRANGE', tkey, '0', packed()) end

-- save_tail: what an outgoing message in the tail block changes.
local function save_tail()
  call('SETRANGE', tkey, '0', pack('>I6I3I3I6I6BI3BI7I5', l, pc, oc, rst, sub, n, z, no, lo, pf))
end

-- save_owner: everything; the value may become shorter.
local function save_owner() call('SET', tkey, packed()) end

-- heard notes when the device was last heard of; 0 and what is not newer change nothing, and
-- nothing is newer than now.
local function heard(ms) seen = math.max(seen, math.min(ms, now)) end

-- tick advances the tracker's clock, which never goes back.
local function tick()
  if now > l then
    l = now
  end
end

-- stamp is the tracker's clock in 6 B, mostly the same for all items of a batch.
local stamped, stamp_text
local function stamp()
  if stamped ~= l then
    stamped, stamp_text = l, pack('>I6', l)
  end
  return stamp_text
end

-- of_tracker is another key of the tracker in hand, by its letter.
local function of_tracker(letter) return K .. letter .. cut(tkey, #K + 4) end

-- live reports whether a block is one of the tracker's: of those that drop.lua has cut off some may
-- still be there.
local function live(blk)
  return k > 0 and (blk == b or (w > 0 and blk >= w) or (k > 1 and call('ZSCORE', of_tracker(':x:'), pack('>I5', blk)) ~= false))
end

-- touched notes a change to a record of block blk: Changes looks at the newest blocks only.
local function touched(blk)
  if blk < w then
    rst = l
  end
end
