package dialect

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// believeVerdicts is where TestBelieveCorpus writes what goes on, for the
// decoders of other languages.
var believeVerdicts = flag.String("believe-verdicts", "", "write what goes on of the corpus into this `file`")

// believeVerdict is what goes on of one message of the corpus. Bytes are
// base64.
type believeVerdict struct {
	Protocol string `json:"protocol"` // of testdata/believe/protocols.json
	Dialect  string `json:"dialect"`
	Pass     string `json:"pass"`
	State    State  `json:"state"`
	Binary   bool   `json:"binary"`
	Data     []byte `json:"data"`
	Verified string `json:"verified"` // empty if nothing was
}

// fuzzEntry is the first value of an entry of a fuzz corpus.
var fuzzEntry = regexp.MustCompile(`(?m)^\[\]byte\((".*")\)$`)

// committed returns the messages of the fuzz corpora of this kind.
func committed(t *testing.T) (all [][]byte) {
	t.Helper()
	files, err := filepath.Glob("testdata/fuzz/FuzzBelieve*/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		entry, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found := fuzzEntry.FindSubmatch(entry)
		if found == nil {
			t.Fatalf("%s has no message", file)
		}
		text, err := strconv.Unquote(string(found[1]))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, []byte(text))
	}
	return all
}

// believePieces are put into messages: what decoders read differently.
var believePieces = []string{
	"{", "}", "[", "]", `"`, "'", ",", ":", "\\", "/", "/**/", "//\n", "#\n", "\x00", "\xff", "\xc0\x80", `\u0000`, `\ud800`, `\u017f`,
	"\ufeff", " ", "\t", "\n", "\r", "\v", "\f", "\u00a0", "\u2028", "\u3000", "NaN", "Infinity", "null", "true", "-", "+", "0", "4", "40", "1e999",
	"\u0664", "\u0660", "m", "\x1e", "/", "?", ",{}", "[[[[", "]]]]", `"token":"x",`, `"type":"auth",`, `"payload":{},`, `"event":"phx_join",`,
	`"__proto__":{},`, "\u212a", "\u017f", "\u0131",
}

// edited returns n messages that are the table's with up to three edits each,
// always the same.
func (b believed) edited(n int) (all [][]byte) {
	random := rand.New(rand.NewPCG(1, uint64(len(b.message))))
	seeds := b.seeds()
	for range n {
		text := []byte(seeds[random.IntN(len(seeds))])
		for range 1 + random.IntN(3) {
			if len(text) == 0 {
				break
			}
			at := random.IntN(len(text))
			switch random.IntN(6) {
			case 0, 1:
				text = slices.Insert(text, at, []byte(believePieces[random.IntN(len(believePieces))])...)
			case 2:
				text = slices.Delete(text, at, at+1)
			case 3:
				text[at] ^= 0x20 // another case, for a letter
			case 4:
				text = slices.Replace(text, at, at+1, fmt.Appendf(nil, `\u%04x`, text[at])...)
			default:
				end := at + random.IntN(len(text)-at)
				text = slices.Insert(text, random.IntN(len(text)), bytes.Clone(text[at:end])...)
			}
		}
		all = append(all, text)
	}
	return all
}

// TestBelieveCorpus: in no message of the corpus do decoders of Go find a
// credential that nobody has verified: in the table in all disguises, and in
// what was found by fuzzing.
func TestBelieveCorpus(t *testing.T) {
	t.Parallel()
	var verdicts []believeVerdict
	found := committed(t)
	const edits = 1000 // of each message
	for _, b := range believedMessages {
		messages := found
		for _, text := range b.seeds() {
			messages = append(slices.Clip(messages), []byte(text))
		}
		messages = append(messages, b.edited(edits)...)
		for _, s := range believedSpeakers(t, b.name) {
			verdicts = append(verdicts, s.judges(t, messages)...)
		}
	}
	if len(verdicts) < 500 {
		t.Fatalf("only %d messages go on", len(verdicts))
	}
	if *believeVerdicts == "" {
		return
	}
	text, err := json.Marshal(verdicts)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(*believeVerdicts, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// judges returns what goes on of messages, in every state, and checks it.
func (s spokenBy) judges(t *testing.T, messages [][]byte) (verdicts []believeVerdict) {
	t.Helper()
	seen := make(map[string]bool)
	for _, message := range messages {
		for st := Pending; st <= Suspended; st++ {
			for _, binary := range []bool{false, true} {
				m := proxy.Message{Binary: binary, Data: bytes.Clone(message)}
				parts, err := s.dialect.Start(s.opening).Client(st, m)
				if err != nil {
					continue
				}
				for _, one := range passages(st, parts, message) {
					key := strconv.FormatBool(binary) + "\x00" + string(one.data) + "\x00" + one.verified
					if seen[key] {
						continue
					}
					seen[key] = true
					if err := s.protocol.unverified(one); err != nil {
						t.Errorf("%s, pass %s, state %d, binary %v: %v", s.name, s.pass, st, binary, err)
					}
					verdicts = append(verdicts, believeVerdict{
						s.protocolName(), s.name, s.pass, st, binary, bytes.Clone(one.data), one.verified,
					})
				}
			}
		}
	}
	return verdicts
}
