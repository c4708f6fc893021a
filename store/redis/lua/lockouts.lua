-- lockouts counts failures of addresses and locks out those that have too
-- many. An address with no failures is let in again.
-- KEYS: lockouts, stream, then a counter for each address. ARGV: origin, length
-- of the stream, most lockouts to keep, then for each address: address,
-- failures, limit, window in ms, until.
local hash, stream = KEYS[1], KEYS[2]
local origin, length, most = ARGV[1], ARGV[2], tonumber(ARGV[3])

local function tell(kind, address, expires)
  redis.call('XADD', stream, 'MAXLEN', '~', length, '*',
    'kind', kind, 'origin', origin, 'address', address, 'until', expires)
end

for i = 3, #KEYS do
  local address, failures, limit, window, expires = unpack(ARGV, 4 + (i - 3) * 5, 8 + (i - 3) * 5)
  if failures == '0' then
    redis.call('DEL', KEYS[i])
    redis.call('HDEL', hash, address)
    tell('release', address, '0')
  elseif redis.call('INCRBY', KEYS[i], failures) >= tonumber(limit) then
    redis.call('DEL', KEYS[i])
    if redis.call('HLEN', hash) < most then
      redis.call('HSET', hash, address, expires)
    end
    tell('lockout', address, expires)
  elseif redis.call('PTTL', KEYS[i]) < 0 then
    redis.call('PEXPIRE', KEYS[i], window)
  end
end
return 0
