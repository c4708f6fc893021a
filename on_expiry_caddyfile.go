package websocketauth

import "github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

// unmarshalOnExpiry reads the policy, and the block of the one that has one.
func (h *Handler) unmarshalOnExpiry(d *caddyfile.Dispenser) error {
	if err := wordArg(d, &h.OnExpiry.Policy, expiryClose, expiryIgnore, expiryRenew); err != nil {
		return err
	}
	if h.OnExpiry.Policy != expiryRenew {
		return nil
	}
	if err := unmarshalBlock(d, nil, h.OnExpiry.unmarshalWord); err != nil {
		return err
	}
	if err := h.OnExpiry.check(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// unmarshalWord reads one subdirective of renew.
func (o *OnExpiry) unmarshalWord(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "warn":
		return zeroableDurationArg(d, &o.Warn)
	case "grace":
		return zeroableDurationArg(d, &o.Grace)
	case "hold":
		return o.unmarshalHold(d)
	case "path":
		return stringArg(d, &o.Path)
	}
	return d.Errf("unrecognized subdirective '%s' of on_expiry renew: use warn, grace, hold or path", d.Val())
}

// unmarshalHold reads a number of messages and a size.
func (o *OnExpiry) unmarshalHold(d *caddyfile.Dispenser) (err error) {
	args := d.RemainingArgs()
	if len(args) != 2 {
		return d.Errf("'hold' takes two arguments, not %d: hold <messages> <size>", len(args))
	}
	if o.HoldMessages, err = positive(d, "hold", args[0]); err != nil {
		return err
	}
	o.HoldSize, err = size(d, "hold", args[1])
	return err
}
