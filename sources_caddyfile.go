package websocketauth

import "github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

// unmarshalFrom reads one source.
func (h *Handler) unmarshalFrom(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Errf("'from' needs a source: %s", sourceList)
	}
	source := Source{Source: d.Val()}
	var err error
	switch source.Source {
	case sourceSubprotocol:
		source.Forms = d.RemainingArgs()
	case sourceQuery, sourceHeader, sourceCookie:
		source.Names = d.RemainingArgs()
	case sourceFirstMessage, sourceEveryMessage:
		err = source.unmarshalBlock(d)
	}
	if err != nil {
		return err
	}
	if err := source.check(); err != nil {
		return d.WrapErr(err)
	}
	h.Sources = append(h.Sources, source)
	return nil
}

// unmarshalBlock reads what stands behind a source in messages.
func (s *Source) unmarshalBlock(d *caddyfile.Dispenser) error {
	if err := noArgs(d, "from "+s.Source); err != nil {
		return err
	}
	return unmarshalBlock(d, nil, s.unmarshalWord)
}

// unmarshalWord reads one subdirective. Which of them the source knows is
// checked with the rest of it.
func (s *Source) unmarshalWord(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "within":
		return positiveDurationArg(d, &s.Within)
	case "max_size":
		return sizeArg(d, &s.MaxSize)
	case "early":
		return flagArg(d, &s.Early)
	case "on_bad":
		return wordArg(d, &s.OnBad, onBadDrop, onBadTell, onBadClose)
	}
	last := "early"
	if s.Source == sourceEveryMessage {
		last = "on_bad"
	}
	return d.Errf("unrecognized subdirective '%s' of from %s: use within, max_size or %s", d.Val(), s.Source, last)
}
