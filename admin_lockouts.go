package websocketauth

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

// lockoutEntry is a client address that is locked out.
type lockoutEntry struct {
	Address string    `json:"address"` // IPv6 as a network of 64 bits
	Until   time.Time `json:"until"`
}

// lockoutPage is a part of the list of lockouts.
type lockoutPage struct {
	Lockouts []lockoutEntry `json:"lockouts"`
	Total    int            `json:"total"`
	Next     string         `json:"next"`
}

func listLockouts(r *http.Request) (any, error) {
	values, err := adminQuery(r, append([]string{"address"}, pageWords...)...)
	if err != nil {
		return nil, err
	}
	limit, err := pageLimit(values)
	if err != nil {
		return nil, err
	}
	all := lockouts.All(time.Now())
	if values.Has("address") {
		address, err := addressOf(values)
		if err != nil {
			return nil, err
		}
		all = slices.DeleteFunc(all, func(l session.Lockout) bool { return l.Address != address })
	}
	found, next := pageOf(all, func(l session.Lockout) string { return l.Address }, values.Get("next"), limit)
	page := lockoutPage{Lockouts: make([]lockoutEntry, 0, len(found)), Total: len(all), Next: next}
	for _, l := range found {
		page.Lockouts = append(page.Lockouts, lockoutEntry{l.Address, l.Until.UTC()})
	}
	return page, nil
}

func releaseLockouts(r *http.Request) (any, error) {
	values, err := adminQuery(r, "address", "all")
	if err != nil {
		return nil, err
	}
	var addresses []string
	switch {
	case values.Has("all") && (values.Has("address") || values.Get("all") != "true"):
		return nil, badRequest(errors.New("use all=true alone, or an address"))
	case values.Has("all"):
		for _, l := range lockouts.All(time.Now()) {
			addresses = append(addresses, l.Address)
		}
	case values.Has("address"):
		address, err := addressOf(values)
		if err != nil {
			return nil, err
		}
		addresses = []string{address}
	default:
		return nil, badRequest(errors.New("no address: name one, or release all by all=true"))
	}
	app, err := currentApp()
	if err != nil {
		return nil, err
	}
	released := 0
	for _, address := range addresses {
		if app.release(address) {
			released++
		}
	}
	return struct {
		Released int `json:"released"` // on this node
	}{released}, nil
}

// release lets an address in again on all nodes, and reports whether it was
// locked out on this one.
func (a *App) release(address string) bool {
	was := lockouts.Forget(address, time.Now())
	if f := a.fleet(); f != nil {
		f.store.Release(address)
	}
	return was
}

// addressOf returns the address in the parameters as lockouts count it: a
// single one, or a network as the list has it.
func addressOf(values url.Values) (string, error) {
	text := values.Get("address")
	if network, err := netip.ParsePrefix(text); err == nil && network.Addr().Is6() && network.Bits() == 64 {
		text = network.Addr().String()
	}
	if _, err := netip.ParseAddr(text); err != nil {
		return "", badRequest(errors.New("parameter address is no address such as 192.0.2.1 or 2001:db8::1"))
	}
	return clientNetwork(text), nil
}
