-- The tracker in hand, as state.go lays it out. load fills these, the save functions write what an
-- operation may have changed.
local l, pc, oc, rst, sub, n, z, no, lo, pf, uc, b, k, w, e, since, seen, owner
local tkey

local function load(T)
  tkey = K .. ':t:' .. T
  local s = call('GET', tkey)
  if s then
    l, pc, oc, rst, sub, n, z, no, lo, pf, uc, b, k, w, e, since, seen = parse('>I6I3I3I6I6BI3BI7I5I3I5I4I5I6I6I6', s)
    owner = cut(s, 77)
  else
    l, pc, oc, rst, sub, n, z, no, lo, pf, uc, b, k, w, e, since, seen = 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
    owner = ''
  end
  return s
end

-- load_counts is load of what acknowledging a message needs.
local function load_counts(T)
  tkey = K .. ':t:' .. T
  local s = call('GET', tkey)
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

-- live reports whether a block is one of the tracker's: of those that drop.lua has cut off some may
-- still be there.
local function live(T, blk)
  return k > 0 and (blk == b or (w > 0 and blk >= w) or (k > 1 and call('ZSCORE', K .. ':x:' .. T, pack('>I5', blk)) ~= false))
end

-- touched notes a change to a record of block blk: Changes looks at the newest blocks only.
local function touched(blk)
  if blk < w then
    rst = l
  end
end
