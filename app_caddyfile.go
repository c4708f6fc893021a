package websocketauth

import (
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

func init() {
	httpcaddyfile.RegisterGlobalOption(appName, parseGlobalOption)
}

// parseGlobalOption returns the app as a global option configures it. existing
// is what an earlier one has made.
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	app := new(App)
	if existing != nil {
		d.Next()
		return nil, d.Errf("'%s' is given twice: write all of it in one block", appName)
	}
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: appName, Value: caddyconfig.JSON(app, nil)}, nil
}

// UnmarshalCaddyfile sets up the app from Caddyfile tokens. Syntax:
//
//	websocket_auth {
//	    # what nodes share revocations and lockouts by
//	    store <store> ...
//
//	    # when a client address is locked out
//	    lockout <failures> <window> <duration>
//
//	    # how long the close frames of a stop take
//	    drain <duration>
//	}
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the option's name
	if d.NextArg() {
		return d.Errf("the global option '%s' takes no argument: write store, lockout and drain in its block", appName)
	}
	return unmarshalBlock(d, nil, a.unmarshalWord)
}

// unmarshalWord reads one subdirective.
func (a *App) unmarshalWord(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "store":
		return a.unmarshalStore(d)
	case "lockout":
		return a.unmarshalLockout(d)
	case "drain":
		return a.unmarshalDrain(d)
	}
	if strings.Contains(d.Val(), ":") { // a URL, which may have a password in it
		return d.Errf("a URL stands in front of a line: it belongs behind the name of a store: store redis <url>")
	}
	return d.Errf("unrecognized subdirective '%s' of the global option websocket_auth: use store, lockout or drain",
		d.Val())
}

// unmarshalStore reads the name of a store, and has its module read on.
func (a *App) unmarshalStore(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Errf("'store' needs the name of one: use memory or redis")
	}
	name := d.Val()
	if _, err := caddy.GetModule(storesPrefix + name); err != nil {
		return d.Errf("%s", unknownStore(name))
	}
	module, err := caddyfile.UnmarshalModule(d, storesPrefix+name)
	if err != nil {
		return err
	}
	a.StoreRaw = caddyconfig.JSONModuleObject(module, "store", name, nil)
	return nil
}

// unknownStore says what to do about a store that this Caddy does not have. It
// quotes no password.
func unknownStore(name string) string {
	switch {
	case strings.Contains(name, ":"): // a URL, which may have a password in it
		return "'store' needs the name of one in front of the URL: store redis <url>"
	case name == "redis":
		return "'store redis' is not in this Caddy: build one with the package " + redisPackage
	}
	return fmt.Sprintf("'store %s' is unknown: use memory or redis, or a Caddy that has the module %s",
		name, storesPrefix+name)
}

// unmarshalLockout reads a number and two durations.
func (a *App) unmarshalLockout(d *caddyfile.Dispenser) (err error) {
	args := d.RemainingArgs()
	if len(args) != 3 {
		return d.Errf("'lockout' takes three arguments, not %d: lockout <failures> <window> <duration>, "+
			"e.g. lockout 100 1m 1m", len(args))
	}
	a.Lockout = new(Lockout)
	if a.Lockout.Failures, err = positive(d, "lockout", args[0]); err != nil {
		return err
	}
	if a.Lockout.Window, err = positiveDuration(d, "lockout", args[1]); err != nil {
		return err
	}
	a.Lockout.Duration, err = positiveDuration(d, "lockout", args[2])
	return err
}

// unmarshalDrain reads a duration, where zero is not the default.
func (a *App) unmarshalDrain(d *caddyfile.Dispenser) error {
	if err := zeroableDurationArg(d, &a.Drain); err != nil {
		return err
	}
	if err := a.check(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*App)(nil)
