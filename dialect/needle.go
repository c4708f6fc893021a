package dialect

import (
	"bytes"
	"strings"
)

// needle is a text that is looked for in many messages, and mostly not there. It
// is found by the letter of it that is the rarest in texts: [bytes.Index] goes by
// the first, and stops at each one of them.
type needle struct {
	text []byte
	rare int // where that letter stands
}

// frequent are letters from the most frequent one in English on.
const frequent = "etaoinsrhldcumfpgwybvkxjqz"

func newNeedle(text string) needle {
	n := needle{text: []byte(text)}
	rarest := -1
	for i := range text {
		if rank := strings.IndexByte(frequent, text[i]); rank > rarest {
			n.rare, rarest = i, rank
		}
	}
	return n
}

// in tells whether data holds n.
func (n needle) in(data []byte) bool {
	if len(n.text) == 0 {
		return true
	}
	for at := n.rare; ; at++ {
		if at >= len(data) {
			return false
		}
		i := bytes.IndexByte(data[at:], n.text[n.rare])
		if i < 0 {
			return false
		}
		at += i
		if bytes.HasPrefix(data[at-n.rare:], n.text) {
			return true
		}
	}
}
