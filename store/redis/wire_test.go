package redis

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

var (
	later   = time.UnixMilli(4_000_000_000_000)
	earlier = time.UnixMilli(1_000_000_000_000)
)

func TestWhatIsSharedComesBack(t *testing.T) {
	t.Parallel()
	for _, r := range []session.Revocation{
		{Issuer: "https://id.example", TokenID: "a", Until: later},
		{TokenID: "no issuer", Until: later, Reason: "stolen"},
		{Issuer: "a:b c%20+&<>\"\\", SessionID: "ä\u2028:😀", Until: later, Reason: "</script>"},
		{Issuer: "i", Subject: "s", IssuedBefore: earlier, Until: later},
		{Issuer: "i", Subject: "s", IssuedBefore: time.UnixMilli(0), Until: later},
		{Issuer: "i", Subject: "s", IssuedBefore: time.UnixMilli(-5), Until: later},
		{Issuer: "i", TokenID: strings.Repeat("x", 8<<10), Until: later},
	} {
		o, err := encode("revoke", r)
		if err != nil {
			t.Errorf("encode(%.60v): %v", r, err)
			continue
		}
		text := `{"version":1,"changed":"1-1","by":"x","until":` + o.until + `,"of":` + o.of + `,"reason":` + o.reason
		if o.issuedBefore != "" {
			text += `,"issued_before":` + o.issuedBefore
		}
		v, err := decode(text + "}")
		if err != nil {
			t.Errorf("decode(%.60s): %v", text, err)
			continue
		}
		if got, err := v.revocation(o.field); err != nil || got != r {
			t.Errorf("%.60v came back as %.60v, %v", r, got, err)
		}
		if key, err := keyOf(o.field); err != nil || key != r.Key() {
			t.Errorf("keyOf(%.60q) = %.60q, %v, want %.60q", o.field, key, err, r.Key())
		}
		for _, c := range o.field {
			if c <= ' ' || c > '~' {
				t.Errorf("the field %.60q is not printable", o.field)
				break
			}
		}
	}
}

// A revocation is never forgotten early for the sake of the form.
func TestUntilIsRoundedUp(t *testing.T) {
	t.Parallel()
	o, err := encode("revoke", session.Revocation{
		TokenID: "a", Until: later.Add(time.Nanosecond), IssuedBefore: earlier.Add(999_999 * time.Nanosecond),
	})
	if err != nil || o.until != strconv.FormatInt(later.UnixMilli()+1, 10) || o.issuedBefore != strconv.FormatInt(earlier.UnixMilli(), 10) {
		t.Errorf("encode = %+v, %v", o, err)
	}
}

func TestWhatCannotBeShared(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]session.Revocation{
		"too long":            {Issuer: "i", TokenID: strings.Repeat("x", maxValue), Until: later},
		"too long a reason":   {Issuer: "i", TokenID: "x", Until: later, Reason: strings.Repeat("x", maxValue)},
		"not UTF-8":           {Issuer: "i", TokenID: "\xff", Until: later},
		"reason is not UTF-8": {Issuer: "i", TokenID: "x", Until: later, Reason: "\xff"},
		"NUL":                 {Issuer: "i", TokenID: "a\x00b", Until: later},
		"year 300000":         {Issuer: "i", TokenID: "a", Until: time.Unix(9_500_000_000_000, 0)},
	} {
		if o, err := encode("revoke", r); err == nil {
			t.Errorf("%s: encode = %.100v, want an error", name, o)
		}
	}
}

// badValues are values of the hash that mean nothing.
var badValues = []string{
	``, `x`, `null`, `[]`, `{}`, `1`, `"x"`,
	`{"version":2,"until":4000000000000,"of":{"issuer":"i","jti":"bad"}}`,
	`{"version":1,"until":"4000000000000","of":{"issuer":"i","jti":"bad"}}`,
	`{"version":1,"until":1e999,"of":{"issuer":"i","jti":"bad"}}`,
	`{"version":1,"until":4000000000000.5,"of":{"issuer":"i","jti":"bad"}}`,
	`{"version":1,"until":9223372036854775807,"of":{"issuer":"i","jti":"bad"}}`,
	// Years with which no snapshot could be written any more.
	`{"version":1,"until":9007199254740992,"of":{"issuer":"i","jti":"bad"}}`,
	`{"version":1,"until":4000000000000,"issued_before":-9007199254740992,"of":{"issuer":"i","jti":"bad"}}`,
	`{"version":1,"until":4000000000000,"of":{"issuer":"i","jti":"other"}}`,
	`{"version":1,"until":4000000000000,"of":{"issuer":"i"}}`,
	`{"version":1,"until":4000000000000,"of":{"issuer":"i","jti":"bad","sid":"x"}}`,
	`{"version":1,"until":4000000000000,"of":{"issuer":"i","jti":"bad"},"more":1}`,
	`{"version":1,"until":4000000000000,"of":{"issuer":"i","jti":"bad"}}{}`,
	`{"version":1,"until":4000000000000,"of":{"issuer":"i","jti":"bad"}`,
	`{"version":1,"until":4000000000000,"of":` + strings.Repeat(`[`, 5000) + strings.Repeat(`]`, 5000) + `}`,
}

func TestBadValues(t *testing.T) {
	t.Parallel()
	field := must(fieldOf("jti\x00i\x00bad"))
	for _, text := range badValues {
		v, err := decode(text)
		if err == nil {
			_, err = v.revocation(field)
		}
		if err == nil {
			t.Errorf("%.100s passes", text)
		}
	}
	good := `{"version":1,"until":4000000000000,"of":{"issuer":"i","jti":"bad"}}`
	if v, err := decode(good); err != nil || must(v.revocation(field)).TokenID != "bad" {
		t.Errorf("%s does not pass: %v", good, err)
	}
	if _, err := decode(good + strings.Repeat(" ", maxValue)); err == nil {
		t.Error("a value that is too long passes")
	}
}

func TestFields(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		"", "jti", "jti:a", "jti:a:b:c", "JTI:a:b", "x:a:b", "jti:%zz:b", "jti:a:b c", "jti:%61:b", "jti:a:%00", "epoch",
	} {
		if key, err := keyOf(bad); err == nil {
			t.Errorf("keyOf(%q) = %q, want an error", bad, key)
		}
	}
	if _, err := fieldOf("jti\x00a\x00" + strings.Repeat("x", maxValue)); err == nil {
		t.Error("a field that is too long passes")
	}
}

// badMessages are fields of messages that mean nothing.
var badMessages = [][]string{
	{"kind"},
	{"no", "kind"},
	{"kind", "explode"},
	{"kind", "revoke", "kind", "revoke"},
	{"kind", "revoke"},
	{"kind", "revoke", "op", "1", "key", "jti:i:bad", "value", "x"},
	{"kind", "revoke", "op", "-1", "key", "jti:i:bad", "value", `{"version":1,"until":4000000000000,"of":{"issuer":"i","jti":"bad"}}`},
	{"kind", "revoke", "op", "1", "key", "jti:i:other", "value", `{"version":1,"until":4000000000000,"of":{"issuer":"i","jti":"bad"}}`},
	{"kind", "revoke", "op", "1", "key", "jti:i:bad", "value", `{"version":1,"removed":true,"until":4000000000000,"of":{"issuer":"i","jti":"bad"}}`},
	{"kind", "unrevoke", "op", "1", "key", "everything"},
	{"kind", "unrevoke", "op", "x", "key", "jti:i:stays"},
	{"kind", "lockout", "address", "192.0.2.1", "until", "soon"},
	{"kind", "lockout", "address", "", "until", "4000000000000"},
	{"kind", "lockout", "address", "192.0.2.1\n", "until", "4000000000000"},
	{"kind", "lockout", "address", strings.Repeat("1", maxAddress+1), "until", "4000000000000"},
	{"kind", "lockout", "address", "192.0.2.1", "until", "9000000000000"},
	{"kind", "release", "until", "0"},
}

func TestBadMessages(t *testing.T) {
	t.Parallel()
	for _, fields := range badMessages {
		if m, err := parseMessage(fields, time.UnixMilli(4_000_000_000_000)); err == nil {
			t.Errorf("%.100q = %+v, want an error", fields, m)
		}
	}
}

func TestPositions(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "-", "1", "1-", "-1", "1-x", "1-1-1", "1 -1", "99999999999999999999-1"} {
		if p, err := parsePosition(bad); err == nil {
			t.Errorf("parsePosition(%q) = %v, want an error", bad, p)
		}
	}
	in := []string{"0-0", "0-1", "1-0", "9-10", "10-9", "1700000000000-3"}
	for i := range in {
		p := must(parsePosition(in[i]))
		if p.String() != in[i] {
			t.Errorf("%s became %s", in[i], p)
		}
		for j := range in {
			if got := p.after(must(parsePosition(in[j]))); got != (i > j) {
				t.Errorf("%s after %s = %v", in[i], in[j], got)
			}
		}
	}
}

func FuzzParseMessage(f *testing.F) {
	for _, fields := range badMessages {
		f.Add(strings.Join(fields, "\n"))
	}
	for _, text := range badValues {
		f.Add("kind\nrevoke\nop\n1\nkey\njti:i:bad\nvalue\n" + text)
	}
	f.Add("kind\nrevoke\nop\n1\nkey\njti:i:a\nvalue\n" + `{"version":1,"until":4000000000000,"of":{"issuer":"i","jti":"a"}}`)
	f.Add("kind\nunrevoke\nop\n1\nkey\nsid::a")
	f.Add("kind\nlockout\naddress\n2001:db8::/64\nuntil\n4000000000000")
	now := time.UnixMilli(4_000_000_000_000)
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseMessage(strings.Split(text, "\n"), now)
		if err != nil {
			return
		}
		switch m.kind {
		case "revoke":
			if err := m.revoked.Check(); err != nil || must(fieldOf(m.revoked.Key())) != m.field {
				t.Errorf("%q is taken for %+v: %v", text, m, err)
			}
		case "unrevoke":
			if key, err := keyOf(m.field); err != nil || must(fieldOf(key)) != m.field {
				t.Errorf("%q is taken for %+v: %v", text, m, err)
			}
		case "lockout", "release":
			if !validAddress(m.address) || m.until.After(now.Add(maxLockout)) {
				t.Errorf("%q is taken for %+v", text, m)
			}
		}
	})
}

// must is for what cannot fail in a test.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
