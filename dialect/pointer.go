package dialect

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// pointer is a JSON pointer, RFC 6901, taken apart. The zero value, and "" as
// text, point to the whole text.
type pointer []string

// parsePointer takes text apart. An error names what is wrong with it.
func parsePointer(text string) (pointer, error) {
	switch {
	case text == "":
		return nil, nil
	case text[0] != '/':
		return nil, fmt.Errorf("JSON pointer %q does not begin with /: write %q", text, "/"+text)
	case !utf8.ValidString(text):
		return nil, fmt.Errorf("JSON pointer %q is no UTF-8", text)
	}
	p := pointer(strings.Split(text[1:], "/"))
	if len(p) > maxDepth {
		return nil, fmt.Errorf("JSON pointer %q has more than %d steps", text, maxDepth)
	}
	for i, step := range p {
		name, err := unescapeStep(step)
		if err != nil {
			return nil, fmt.Errorf("JSON pointer %q: %w", text, err)
		}
		p[i] = name
	}
	return p, nil
}

// parsePointers takes several apart, of which each must name something in the
// text.
func parsePointers(texts []string) ([]pointer, error) {
	ps := make([]pointer, 0, len(texts))
	for _, text := range texts {
		p, err := parsePointer(text)
		if err != nil {
			return nil, err
		}
		if len(p) == 0 {
			return nil, errors.New("an empty JSON pointer is the whole message: write one such as /token")
		}
		ps = append(ps, p)
	}
	return ps, nil
}

// unescapeStep undoes ~0 and ~1, RFC 6901 section 4.
func unescapeStep(step string) (string, error) {
	if !strings.Contains(step, "~") {
		return step, nil
	}
	if strings.HasSuffix(step, "~") {
		return "", errors.New("~ is written ~0")
	}
	for i := range len(step) - 1 {
		if step[i] == '~' && step[i+1] != '0' && step[i+1] != '1' {
			return "", errors.New("~ is written ~0")
		}
	}
	return strings.NewReplacer("~1", "/", "~0", "~").Replace(step), nil
}

// index returns the element of an array that a step names, or -1 if it can
// only be a member's name: RFC 6901 section 4 allows no leading zeros.
func index(step string) int {
	n, err := strconv.Atoi(step)
	if err != nil || n < 0 || strconv.Itoa(n) != step {
		return -1
	}
	return n
}

// within tells whether p points to what outer points to, or into it.
func (p pointer) within(outer pointer) bool {
	if len(p) < len(outer) {
		return false
	}
	for i, step := range outer {
		if p[i] != step {
			return false
		}
	}
	return true
}
