-- Every script begins with this file.

-- exact returns n if it is a whole number that a double holds exactly.
local function exact(n)
  if type(n) == 'number' and n == math.floor(n) and math.abs(n) <= 9007199254740992 then
    return n
  end
end

-- parse returns what a value of the revocations says, or nil if it is none.
local function parse(value, max)
  if not value or #value > max then
    return nil
  end
  local ok, t = pcall(cjson.decode, value)
  if not ok or type(t) ~= 'table' or t.version ~= 1 or not exact(t['until']) then
    return nil
  end
  if t.issued_before ~= nil and not exact(t.issued_before) then
    return nil
  end
  return t
end

-- get reads a field, unless it is larger than ours can be.
local function get(hash, field, max)
  if redis.call('HSTRLEN', hash, field) > max then
    return nil
  end
  return redis.call('HGET', hash, field)
end

-- last returns the position of the newest message, or nil if there is none.
local function last(stream)
  local newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)
  return newest[1] and newest[1][1]
end

-- later tells whether position a is after position b.
local function later(a, b)
  local function parts(position)
    local ms, n = string.match(tostring(position), '^(%d+)-(%d+)$')
    return tonumber(ms) or 0, tonumber(n) or 0
  end
  local a_ms, a_n = parts(a)
  local b_ms, b_n = parts(b)
  return a_ms > b_ms or a_ms == b_ms and a_n > b_n
end
