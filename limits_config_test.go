package websocketauth

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestLimitsConfigured: what the run-time finds in the handler.
func TestLimitsConfigured(t *testing.T) {
	load := handlerLoader(t)
	type got struct {
		PerUser *perUserLimit
		Ping    *pinging
		Recheck bool
	}
	for name, tc := range map[string]struct {
		config string
		want   got
	}{
		"nothing":          {``, got{}},
		"sessions":         {`"sessions_per_user":{"max":5}`, got{PerUser: &perUserLimit{5, false}}},
		"sessions refuse":  {`"sessions_per_user":{"max":1,"policy":"refuse"}`, got{PerUser: &perUserLimit{1, false}}},
		"sessions replace": {`"sessions_per_user":{"max":1,"policy":"replace"}`, got{PerUser: &perUserLimit{1, true}}},
		"ping":             {`"ping":{"interval":"30s"}`, got{Ping: &pinging{30 * time.Second, 10 * time.Second}}},
		"ping and timeout": {`"ping":{"interval":"1h","timeout":"1s"}`, got{Ping: &pinging{time.Hour, time.Second}}},
		"shortest ping":    {`"ping":{"interval":"1s","timeout":"1h"}`, got{Ping: &pinging{time.Second, time.Hour}}},
		"keep":             {`"on_reload":"keep"`, got{}},
		"recheck":          {`"on_reload":"recheck"`, got{Recheck: true}},
	} {
		h, err := load(vouched(tc.config))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if have := (got{h.perUser, h.ping, h.recheck}); !reflect.DeepEqual(have, tc.want) {
			t.Errorf("%s: %+v, want %+v", name, have, tc.want)
		}
	}
}

// TestLimitsRefused: what cannot work does not load, and the error says what
// to do.
func TestLimitsRefused(t *testing.T) {
	load := handlerLoader(t)
	for config, want := range map[string]string{
		`"sessions_per_user":{"max":-1}`:                           "sessions_per_user needs a number from 1",
		`"sessions_per_user":{"policy":"replace"}`:                 "sessions_per_user needs a number from 1",
		`"sessions_per_user":{"max":2,"policy":"drop"}`:            "sessions_per_user 'drop' is unknown: use refuse or replace",
		`"ping":{"timeout":"5s"}`:                                  "ping needs an interval",
		`"ping":{"interval":"999ms"}`:                              "ping: the interval 999ms is not from 1s to 1h0m0s",
		`"ping":{"interval":"-30s"}`:                               "ping: the interval -30s is not from 1s to 1h0m0s",
		`"ping":{"interval":"61m"}`:                                "ping: the interval 1h1m0s is not from 1s to 1h0m0s",
		`"ping":{"interval":"30s","timeout":"1ms"}`:                "ping: the timeout 1ms is not from 1s to 1h0m0s",
		`"ping":{"interval":"30s","timeout":"-1s"}`:                "ping: the timeout -1s is not from 1s to 1h0m0s",
		`"ping":{"interval":"30s","timeout":"2h"}`:                 "ping: the timeout 2h0m0s is not from 1s to 1h0m0s",
		`"on_reload":"close"`:                                      "on_reload 'close' is unknown: use keep or recheck",
		`"on_reload":"Recheck","sessions_per_user":{"max":5}`:      "on_reload 'Recheck' is unknown: use keep or recheck",
		`"ping":{"interval":"30s"},"sessions_per_user":{"max":-5}`: "sessions_per_user needs a number from 1",
	} {
		if _, err := load(vouched(config)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", config, err, want)
		}
	}
}

// TestLimitsOfNested: they are the outer handler's.
func TestLimitsOfNested(t *testing.T) {
	load := handlerLoader(t)
	for config, word := range map[string]string{
		`"sessions_per_user":{"max":5}`: "sessions_per_user",
		`"ping":{"interval":"30s"}`:     "ping",
		`"on_reload":"keep"`:            "on_reload",
		`"on_reload":"recheck"`:         "on_reload",
	} {
		want := "remove '" + word + "', which is the other one's"
		if _, err := load(`{"max_session":"1h",` + config + `}`); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", config, err, want)
		}
	}
	if _, err := load(`{"max_session":"1h"}`); err != nil {
		t.Errorf("without any of them: %v", err)
	}
}
