package auth

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"time"
)

const (
	// maxLeeway is the longest leeway a configuration may give.
	maxLeeway = 5 * time.Minute
	// clockSkew is how far nbf and iat may lie in the future, because clocks
	// differ. It never makes a token live longer.
	clockSkew = 30 * time.Second
	// maxDate is the last NumericDate taken, the end of the year 9999: beyond
	// it time.Time prints oddly and a Duration overflows.
	maxDate = 253402300799
)

// errDate says why a NumericDate is refused, without the value.
var errDate = errors.New("is not a number of seconds between 1970 and 9999")

// numericDate reads a NumericDate (RFC 7519 section 2): a JSON number of
// seconds since 1970, a fraction is fine. Text, null, negative and absurd
// numbers are refused. ok is false if the claim is absent.
func numericDate(claims Claims, name string) (at time.Time, ok bool, err error) {
	v, there := claims[name]
	if !there {
		return time.Time{}, false, nil
	}
	number, isNumber := v.(json.Number)
	if !isNumber {
		return time.Time{}, false, errDate
	}
	seconds, err := strconv.ParseFloat(number.String(), 64)
	if err != nil || math.IsNaN(seconds) || seconds < 0 || seconds > maxDate {
		return time.Time{}, false, errDate
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*float64(time.Second))), true, nil
}

// validity is the time in which a token holds.
type validity struct {
	issuedAt time.Time // zero if the token has no iat
	from     time.Time // zero if the token has neither nbf nor iat
	until    time.Time // exp plus leeway: from here on it does not hold
}

// readValidity reads exp, nbf and iat. It is the one place where the leeway
// is added. Zero maxLifetime means any. Where there is one, iat is required:
// what is left of a token says nothing of its lifetime, and a token that is
// refused for living too long would be good later, when whatever was revoked of
// it is forgotten.
func readValidity(claims Claims, leeway, maxLifetime time.Duration) (validity, error) {
	exp, ok, err := numericDate(claims, "exp")
	switch {
	case err != nil:
		return validity{}, Refuse(ReasonClaims, "exp "+err.Error())
	case !ok:
		return validity{}, Refuse(ReasonClaims, "exp is missing")
	}
	nbf, hasNbf, err := numericDate(claims, "nbf")
	if err != nil {
		return validity{}, Refuse(ReasonClaims, "nbf "+err.Error())
	}
	iat, hasIat, err := numericDate(claims, "iat")
	if err != nil {
		return validity{}, Refuse(ReasonClaims, "iat "+err.Error())
	}
	v := validity{until: exp.Add(leeway)}
	if hasIat {
		v.issuedAt, v.from = iat, iat
	}
	if hasNbf && nbf.After(v.from) {
		v.from = nbf
	}
	switch {
	case maxLifetime > 0 && !hasIat:
		return v, Refuse(ReasonClaims, "iat is missing, without which nobody can tell whether the token lives longer than max_lifetime")
	case maxLifetime > 0 && exp.Sub(iat) > maxLifetime:
		return v, Refuse(ReasonLifetime, "token lives longer than max_lifetime, "+maxLifetime.String())
	}
	return v, nil
}

// LongestLife returns for how long from now on a token may hold at the most
// that is accepted now, where its lifetime must not exceed maxLifetime: one
// whose iat lies in the future included.
func LongestLife(maxLifetime, leeway time.Duration) time.Duration {
	return clockSkew + maxLifetime + leeway
}

// check returns a *RefusedError if v does not hold at now.
func (v validity) check(now time.Time) error {
	if !now.Before(v.until) {
		return Refuse(ReasonExpired, "token has ended (exp)")
	}
	if v.from.After(now.Add(clockSkew)) {
		return Refuse(ReasonNotYetValid, "token begins in the future (nbf or iat)")
	}
	return nil
}
