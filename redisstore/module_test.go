package redisstore

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// canary is a password that no error may quote.
const canary = "c4n4ry"

// load returns the store of a configuration, and what Provision says.
func load(t *testing.T, config string) (*Store, error) {
	t.Helper()
	s := new(Store)
	if err := caddy.StrictUnmarshalJSON([]byte(config), s); err != nil {
		t.Fatalf("%s: %v", config, err)
	}
	return s, s.Provision(caddy.Context{})
}

// TestConfigured: the default is to serve on, and the URL's placeholders are
// resolved, but not where the admin API would show it.
func TestConfigured(t *testing.T) {
	t.Setenv("WEBSOCKET_AUTH_TEST_REDIS", "rediss://user:"+canary+"@redis.example.com:6380/1")
	for config, alone := range map[string]bool{
		`{"url":"redis://localhost"}`:                                             true,
		`{"url":"{env.WEBSOCKET_AUTH_TEST_REDIS}"}`:                               true,
		`{"url":"{env.WEBSOCKET_AUTH_TEST_REDIS}","on_outage":"serve"}`:           true,
		`{"url":"redis://localhost:6379/2","on_outage":"refuse","prefix":"chat"}`: false,
	} {
		s, err := load(t, config)
		if err != nil {
			t.Errorf("%s: %v", config, err)
			continue
		}
		if s.ServesAlone() != alone {
			t.Errorf("%s: serves alone: %t", config, !alone)
		}
		if s.Store() == nil {
			t.Errorf("%s: no store", config)
		}
		if strings.Contains(s.URL, canary) || strings.Contains(s.Key(), canary) {
			t.Errorf("%s: the password is in %s or %s", config, s.URL, s.Key())
		}
	}
}

// TestRefused: what cannot work does not load, and the errors quote nothing of
// the URL.
func TestRefused(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]string{
		`{}`:                                                           "the URL is missing",
		`{"url":"{env.` + canary + `}"}`:                               "a placeholder in the URL is unknown or empty",
		`{"url":"redis://:{` + canary + `}@h"}`:                        "a placeholder in the URL is unknown or empty",
		`{"url":"http://:` + canary + `@h"}`:                           "store redis: ",
		`{"url":"redis://:` + canary + `@h:port"}`:                     "store redis: ",
		`{"url":"redis://u:` + canary + `%zz@h"}`:                      "store redis: ",
		`{"url":"redis://u:` + canary + `@[::1"}`:                      "store redis: ",
		`{"url":"u:` + canary + `@h:6379"}`:                            "store redis: ",
		`{"url":"redis://u:` + canary + `@h/database"}`:                "store redis: ",
		`{"url":"redis://u:` + canary + `@h\u007f"}`:                   "store redis: ",
		`{"url":"redis://u:` + canary + `@h","on_outage":"close"}`:     "'on_outage close' is unknown: use serve or refuse",
		`{"url":"redis://h","on_outage":"redis://u:` + canary + `@h"}`: "use serve or refuse",
	} {
		_, err := load(t, config)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", config, err, want)
		} else if strings.Contains(err.Error(), canary) {
			t.Errorf("%s: the error quotes the password: %v", config, err)
		}
	}
}

// TestKey: stores share a connection if they are the same, whatever happens in
// an outage.
func TestKey(t *testing.T) {
	t.Parallel()
	key := func(config string) string {
		s, err := load(t, config)
		if err != nil {
			t.Fatalf("%s: %v", config, err)
		}
		return s.Key()
	}
	first := key(`{"url":"redis://a"}`)
	if again := key(`{"url":"redis://a","on_outage":"refuse"}`); again != first {
		t.Errorf("keys %s and %s of one store", first, again)
	}
	for _, other := range []string{
		`{"url":"redis://b"}`, `{"url":"rediss://a"}`, `{"url":"redis://a/1"}`, `{"url":"redis://:p@a"}`,
		`{"url":"redis://a","prefix":"chat"}`,
	} {
		if key(other) == first {
			t.Errorf("%s has the key of another store", other)
		}
	}
}

// TestCaddyfileErrors: none quotes the URL.
func TestCaddyfileErrors(t *testing.T) {
	t.Parallel()
	const url = "redis://u:" + canary + "@h"
	for _, text := range []string{
		"redis " + url + " " + url,
		"redis " + url + " {\n\tprefix\n}",
		"redis " + url + " {\n\tpassword x\n}",
		"redis " + url + " {\n\ton_outage never\n}",
		"redis " + url + " {\n\ton_outage " + url + "\n}",
		"redis " + url + " {\n\t" + url + "\n}",
		"redis redis://localhost {\n\t" + url + "\n}",
		"redis " + url + " {\n\tprefix a {\n\t\tb\n\t}\n}",
	} {
		err := new(Store).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text))
		if err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: error %v", text, err)
		}
	}
}
