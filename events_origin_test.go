package websocketauth

import (
	"encoding/json"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// TestEventsComeFromTheApp: subscribers may name the module whose events they
// want, and it is always the same, however deep in a configuration the app was
// loaded first.
func TestEventsComeFromTheApp(t *testing.T) {
	const handler = `{"handler": "websocket_auth", "dialect": {"dialect": "json"}, "on_expiry": {"policy": "renew"},
		"verifiers": [{"verifier": "jwt", "secret": "a-secret-that-is-long-enough-for-HS256", "audiences": ["chat"]}]}`
	wrapped := handler
	for depth := range 6 {
		config := `{"apps": {"http": {"servers": {"srv0": {"listen": ["127.0.0.1:0"], "automatic_https": {"disable": true},
			"routes": [{"handle": [` + wrapped + `]}]}}}}, "admin": {"disabled": true}}`
		cfg := new(caddy.Config)
		if err := json.Unmarshal([]byte(config), cfg); err != nil {
			t.Fatal(err)
		}
		ctx, err := caddy.ProvisionContext(cfg)
		if err != nil {
			t.Fatal(err)
		}
		app, err := appOf(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var from string
		heard := eventHandler(func(e caddy.Event) error {
			if origin := e.Origin(); origin != nil {
				from = string(origin.CaddyModule().ID)
			}
			return nil
		})
		if err := app.events.On("websocket_auth_opened", heard); err != nil {
			t.Fatal(err)
		}
		q := new(eventQueue)
		q.app.Store(app)
		q.tell(waitingEvent{name: "websocket_auth_opened"})
		if from != eventsModule {
			t.Errorf("in %d subroutes the events come from %q, want %q", depth, from, eventsModule)
		}
		if err := app.Cleanup(); err != nil {
			t.Error(err)
		}
		wrapped = `{"handler": "subroute", "routes": [{"handle": [` + wrapped + `]}]}`
	}
}
