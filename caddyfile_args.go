package websocketauth

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
)

// These read what stands behind a subdirective. On entry the dispenser is at
// the subdirective, whose name is in their errors; on return it is at its last
// argument.

// unmarshalBlock reads the block after what d is at, if there is one: word
// reads each subdirective. Only the repeatable ones may be given twice.
func unmarshalBlock(d *caddyfile.Dispenser, repeatable map[string]bool, word func(*caddyfile.Dispenser) error) error {
	seen := make(map[string]bool)
	var last string
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := noBlock(d, last); err != nil {
			return err
		}
		if last = d.Val(); !repeatable[last] {
			if err := once(d, seen); err != nil {
				return err
			}
		}
		if err := word(d); err != nil {
			return err
		}
	}
	return nil
}

// noArgs returns an error if an argument follows what d is at, which takes
// none before its block.
func noArgs(d *caddyfile.Dispenser, of string) error {
	if d.NextArg() {
		return d.Errf("'%s' takes no argument: remove '%s', or write it in a block", of, d.Val())
	}
	return nil
}

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

// textArg reads exactly one argument, which may be empty.
func textArg(d *caddyfile.Dispenser, to **string) error {
	name := d.Val()
	args := d.RemainingArgs()
	if len(args) != 1 {
		return d.Errf("'%s' takes one argument, not %d: put it in backquotes if it has spaces or quotes", name, len(args))
	}
	*to = &args[0]
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

// zeroableDurationArg reads exactly one duration, where zero is not the
// default.
func zeroableDurationArg(d *caddyfile.Dispenser, to **caddy.Duration) error {
	*to = new(caddy.Duration)
	return durationArg(d, *to)
}

// positiveDurationArg reads exactly one duration, which is not zero.
func positiveDurationArg(d *caddyfile.Dispenser, to *caddy.Duration) error {
	name := d.Val()
	if err := durationArg(d, to); err != nil {
		return err
	}
	if *to == 0 {
		return d.Errf("'%s' takes a duration such as 5s, not '%s'", name, d.Val())
	}
	return nil
}

// sizeArg reads exactly one size, which is not zero.
func sizeArg(d *caddyfile.Dispenser, to *int64) (err error) {
	name := d.Val()
	var text string
	if err := stringArg(d, &text); err != nil {
		return err
	}
	*to, err = size(d, name, text)
	return err
}

// size returns the bytes that text says, an argument of the subdirective name.
func size(d *caddyfile.Dispenser, name, text string) (int64, error) {
	bytes, err := humanize.ParseBytes(text)
	if err != nil || bytes < 1 || bytes > math.MaxInt64 {
		return 0, d.Errf("'%s' takes a size such as 16KiB or 1MiB, not '%s'", name, text)
	}
	return int64(bytes), nil
}

// positive returns the number that text says, an argument of the subdirective
// name.
func positive(d *caddyfile.Dispenser, name, text string) (int, error) {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 1 {
		return 0, d.Errf("'%s' takes a number from 1, not '%s'", name, text)
	}
	return int(n), nil
}

// positiveDuration returns the duration that text says, an argument of the
// subdirective name.
func positiveDuration(d *caddyfile.Dispenser, name, text string) (caddy.Duration, error) {
	duration, err := caddy.ParseDuration(text)
	if err != nil || duration <= 0 {
		return 0, d.Errf("'%s' takes a duration above zero such as 30s, not '%s'", name, text)
	}
	return caddy.Duration(duration), nil
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

// wordArg reads exactly one argument, which is one of words, two at least.
func wordArg(d *caddyfile.Dispenser, to *string, words ...string) error {
	name := d.Val()
	if err := stringArg(d, to); err != nil {
		return err
	}
	if slices.Contains(words, *to) {
		return nil
	}
	last := len(words) - 1
	return d.Errf("'%s %s' is unknown: use %s or %s", name, *to, strings.Join(words[:last], ", "), words[last])
}

// percentArg reads exactly one percentage, with or without the sign.
func percentArg(d *caddyfile.Dispenser, to *float64) error {
	name := d.Val()
	var text string
	if err := stringArg(d, &text); err != nil {
		return err
	}
	percent, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	if err != nil || math.IsNaN(percent) || math.IsInf(percent, 0) {
		return d.Errf("'%s' takes a percentage such as 10, not '%s'", name, text)
	}
	*to = percent
	return nil
}
