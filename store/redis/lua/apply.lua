-- apply takes operations in and returns what became of each: its position;
-- "newer" for an unrevocation of what has been revoked again; "same" or
-- "removed" for a refill that changes nothing.
--
-- An operation with a number is done once, however often it is sent within an
-- hour: its node may not have heard the answer.
-- KEYS: revocations, stream, prefix of a node's marks. ARGV: origin, now, max,
-- length of the stream, then for each operation: kind, number, field, seen,
-- issued_before (empty: any), until, of, reason.
local hash, stream, done = KEYS[1], KEYS[2], KEYS[3]
local origin, now, max, length = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local day = 24 * 60 * 60 * 1000

local function tell(kind, number, field, value)
  return redis.call('XADD', stream, 'MAXLEN', '~', length, '*',
    'kind', kind, 'origin', origin, 'op', number, 'key', field, 'value', value)
end

local function whole(n)
  return string.format('%.0f', n)
end

-- live returns what is known of a field and has not ended.
local function live(field)
  local known = parse(get(hash, field, max), max)
  if known and known['until'] > now then
    return known
  end
end

-- unseen tells whether another node has revoked it and the sender had not read
-- that. A sender has seen what it has done itself.
local function unseen(known, seen)
  return known and not known.removed and known.by ~= origin and later(known.changed, seen)
end

-- revoke takes a revocation in; what known says of the same thing counts on.
local function revoke(number, field, known, seen, issued_before, expires, of, reason)
  if known then
    if not known.issued_before then
      issued_before = ''
    elseif issued_before ~= '' and known.issued_before > tonumber(issued_before) then
      issued_before = whole(known.issued_before)
    end
    if known['until'] > tonumber(expires) then
      expires = whole(known['until'])
    end
    if reason == '""' and type(known.reason) == 'string' then
      reason = cjson.encode(known.reason)
    end
    local same = known['until'] == tonumber(expires) and known.issued_before == tonumber(issued_before)
    if number == '0' and same then
      return 'same'
    end
  end
  local value = '"until":' .. expires .. ',"of":' .. of .. ',"reason":' .. reason
  if issued_before ~= '' then
    value = value .. ',"issued_before":' .. issued_before
  end
  local position = tell('revoke', number, field, '{"version":1,' .. value .. '}')
  local changed, by = position, origin
  if unseen(known, seen) then
    changed, by = known.changed, known.by
  end
  redis.call('HSET', hash, field, '{"version":1,"changed":' .. cjson.encode(tostring(changed)) ..
    ',"by":' .. cjson.encode(tostring(by)) .. ',' .. value .. '}')
  return position
end

-- unrevoke leaves a note of what was removed, so that a node that was away
-- does not bring it back.
local function unrevoke(number, field, known, seen)
  if unseen(known, seen) then
    return 'newer'
  end
  local note = '{"version":1,"removed":true,"until":' .. whole(known and known['until'] or now + day)
  if known and known.issued_before then
    note = note .. ',"issued_before":' .. whole(known.issued_before)
  end
  redis.call('HSET', hash, field, note .. '}')
  return tell('unrevoke', number, field, '')
end

-- covers tells whether what was removed includes what a node brings back.
local function covers(removed, issued_before, expires)
  local before = not removed.issued_before or
    issued_before ~= '' and tonumber(issued_before) <= removed.issued_before
  return before and tonumber(expires) <= removed['until']
end

local answers = {}
for i = 5, #ARGV, 8 do
  local kind, number, field, seen, issued_before, expires, of, reason = unpack(ARGV, i, i + 7)
  local known, answer = live(field), nil
  local mark = kind ~= 'refill' and done .. number
  if mark and redis.call('EXISTS', mark) == 1 then
    answer = last(stream) or '0-0'
  elseif kind == 'unrevoke' then
    answer = unrevoke(number, field, known, seen)
  elseif kind == 'refill' and known and known.removed and covers(known, issued_before, expires) then
    answer = 'removed'
  else
    if known and known.removed then
      known = nil
    end
    answer = revoke(number, field, known, seen, issued_before, expires, of, reason)
  end
  if mark then
    redis.call('SET', mark, '1', 'PX', whole(day / 24))
  end
  answers[#answers + 1] = answer
end
return answers
