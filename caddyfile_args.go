package websocketauth

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// These read what stands behind a subdirective. On entry the dispenser is at
// the subdirective, whose name is in their errors; on return it is at its last
// argument.

// once returns an error if the subdirective at d has been seen in this block,
// and remembers it.
func once(d *caddyfile.Dispenser, seen map[string]bool) error {
	if seen[d.Val()] {
		return d.Errf("'%s' is given twice: remove one", d.Val())
	}
	seen[d.Val()] = true
	return nil
}

// noBlock returns an error if d is at the block of word, which has none.
func noBlock(d *caddyfile.Dispenser, word string) error {
	if d.Val() == "{" {
		return d.Errf("'%s' takes no block: remove it", word)
	}
	return nil
}

// stringArg reads exactly one argument, which is not empty.
func stringArg(d *caddyfile.Dispenser, to *string) error {
	name := d.Val()
	args := d.RemainingArgs()
	if len(args) != 1 || args[0] == "" {
		return d.Errf("'%s' takes one argument, not %d", name, countArgs(args))
	}
	*to = args[0]
	return nil
}

// listArg reads one or more arguments, none of which is empty.
func listArg(d *caddyfile.Dispenser, to *[]string) error {
	name := d.Val()
	args := d.RemainingArgs()
	if len(args) == 0 || countArgs(args) != len(args) {
		return d.Errf("'%s' takes one or more arguments, none of them empty", name)
	}
	*to = args
	return nil
}

// durationArg reads exactly one duration, which is not negative.
func durationArg(d *caddyfile.Dispenser, to *caddy.Duration) error {
	name := d.Val()
	var text string
	if err := stringArg(d, &text); err != nil {
		return err
	}
	duration, err := caddy.ParseDuration(text)
	if err != nil || duration < 0 {
		return d.Errf("'%s' takes a duration such as 30s or 5m, not '%s'", name, text)
	}
	*to = caddy.Duration(duration)
	return nil
}

// flagArg reads a subdirective without arguments.
func flagArg(d *caddyfile.Dispenser, to *bool) error {
	name := d.Val()
	if args := d.RemainingArgs(); len(args) > 0 {
		return d.Errf("'%s' takes no argument: remove '%s'", name, args[0])
	}
	*to = true
	return nil
}

// countArgs returns how many arguments are not empty.
func countArgs(args []string) int {
	n := 0
	for _, arg := range args {
		if arg != "" {
			n++
		}
	}
	return n
}
