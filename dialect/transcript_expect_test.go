package dialect

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// expect compares a line with what the speaker returned.
func (tr *transcript) expect(word, rest string) error {
	switch word {
	case "=":
		return tr.expectPart(rest)
	case "!":
		want := map[string]error{"ambiguous": ErrAmbiguous, "protocol": ErrProtocol}[rest]
		if want == nil || !errors.Is(tr.err, want) {
			return fmt.Errorf("the error is %s", fmt.Sprint(tr.err))
		}
		tr.err = nil
		return nil
	case "code":
		if got := strconv.Itoa(int(tr.code)); got != rest {
			return fmt.Errorf("the code is %s", got)
		}
		tr.code = proxy.CloseNone
		return nil
	}
	queue := &tr.toClient
	if strings.HasPrefix(word, "app") {
		queue = &tr.toApp
	}
	if len(*queue) == 0 {
		return errors.New("nothing is said")
	}
	got := (*queue)[0]
	*queue = (*queue)[1:]
	return same(word, rest, got)
}

// kinds by their names in transcripts.
var kinds = map[string]Kind{"data": Data, "harmless": Harmless, "keepalive": KeepAlive, "login": Login}

// expectPart compares the next part.
func (tr *transcript) expectPart(rest string) error {
	if tr.err != nil {
		return fmt.Errorf("the error is %w", tr.err)
	}
	if len(tr.toClient)+len(tr.toApp) > 0 {
		return tr.settled()
	}
	if tr.part == len(tr.parts) {
		return errors.New("there is no such part")
	}
	p := tr.parts[tr.part]
	tr.part++
	tr.toClient, tr.toApp = p.ToClient, p.ToApp

	name, rest, _ := strings.Cut(rest, " ")
	if kind, ok := kinds[name]; !ok || kind != p.Kind {
		return fmt.Errorf("the part is %s", describe(p))
	}
	credential := ""
	if after, ok := strings.CutPrefix(rest, "credential "); ok {
		credential, rest, _ = strings.Cut(after, " ")
	}
	if p.Credential != credential {
		return fmt.Errorf("the part is %s", describe(p))
	}
	word, rest, _ := strings.Cut(rest, " ")
	switch {
	case word == "whole" && p.Whole, word == "nothing" && p.Nothing && !p.Whole:
		return nil
	case word == "" && p.Kind == KeepAlive:
		return nil
	case strings.HasPrefix(word, "goes") && !p.Whole && !p.Nothing:
		return same(strings.Replace(word+">", "#>", "#", 1), rest, p.Message)
	}
	return fmt.Errorf("the part is %s", describe(p))
}

// settled tells what has been returned and not been compared.
func (tr *transcript) settled() error {
	defer func() { tr.parts, tr.err, tr.toClient, tr.toApp, tr.code = nil, nil, nil, nil, proxy.CloseNone }()
	switch {
	case tr.err != nil:
		return fmt.Errorf("%s: the error is %w", tr.pending, tr.err)
	case len(tr.toClient)+len(tr.toApp) > 0:
		return fmt.Errorf("%s: more is said: %v %v", tr.pending, tr.toClient, tr.toApp)
	case tr.part < len(tr.parts):
		return fmt.Errorf("%s: there is one more part: %s", tr.pending, describe(tr.parts[tr.part]))
	case tr.code != proxy.CloseNone:
		return fmt.Errorf("%s: the code is %d", tr.pending, tr.code)
	}
	return nil
}

// describe prints a part for a failed test.
func describe(p Part) string {
	return fmt.Sprintf("kind %d, whole %v, nothing %v, credential %q, message %q", p.Kind, p.Whole, p.Nothing, p.Credential, p.Message.Data)
}

// yesNo compares an answer.
func yesNo(want string, got bool) error {
	if (want == "yes") != got || want != "yes" && want != "no" {
		return fmt.Errorf("it is %v", got)
	}
	return nil
}

// same compares a message.
func same(word, rest string, got proxy.Message) error {
	want, err := message(word, rest)
	if err != nil {
		return err
	}
	if want.Binary != got.Binary || !bytes.Equal(want.Data, got.Data) {
		return fmt.Errorf("binary %v, %q", got.Binary, got.Data)
	}
	return nil
}

// message reads a message: hexadecimal digits if word ends with #, else text.
func message(word, rest string) (proxy.Message, error) {
	if strings.HasSuffix(word, "#") {
		data, err := hex.DecodeString(strings.ReplaceAll(rest, " ", ""))
		return proxy.Message{Binary: true, Data: data}, err
	}
	var data []byte
	for i := 0; i < len(rest); i++ {
		if rest[i] == '<' && i+3 < len(rest) && rest[i+3] == '>' {
			if b, err := hex.DecodeString(rest[i+1 : i+3]); err == nil {
				data = append(data, b[0])
				i += 3
				continue
			}
		}
		data = append(data, rest[i])
	}
	return proxy.Message{Data: data}, nil
}
