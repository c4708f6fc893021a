package websocketauth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
)

func init() {
	RegisterSubcommand(newInspectCommand)
}

const (
	// inspectTimeout bounds the wait for keys, of all verifiers together.
	inspectTimeout = 20 * time.Second
	// maxInspected is how much of the input is read, in bytes: more than any
	// verifier accepts, so that each can say that it is too much.
	maxInspected = 1 << 20
)

// errNotAccepted is why the command ends with status 1 after it has said all.
var errNotAccepted = errors.New("the token is not accepted")

func newInspectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect [--config <path> [--adapter <name>]] [--site <name>] [--certificate <path>] [<file>]",
		Short: "Says what a configuration makes of a token",
		Long: `
Reads a token from the file, or from standard input, and says check by check
what each websocket_auth of the configuration makes of it. Nothing is started,
but keys are fetched. The token is not printed, and it must not be given as an
argument, because other users of the machine can see those.

The configuration is the Caddyfile in the current folder, unless --config names
another file. --site chooses among several websocket_auth by name, by host, by
the server's name in JSON, or by both as sessions lists them, such as
srv0/chat.example.com. --certificate is the one that the client shows, as PEM,
for tokens that are bound to one.

The exit status is 0 if all that were chosen accept the token, else 1.
`,
		Example: `  pbpaste | caddy websocket-auth inspect --config /etc/caddy/Caddyfile --site chat`,
		Args:    cobra.MaximumNArgs(1),
		RunE:    runInspect,
	}
	cmd.Flags().StringP("config", "c", "", "Configuration file")
	cmd.Flags().StringP("adapter", "a", "", "Name of the adapter for the configuration, if it is neither a Caddyfile nor JSON")
	cmd.Flags().String("site", "", "Only the websocket_auth of this name, host or server")
	cmd.Flags().String("certificate", "", "File with the client's certificate")
	return cmd
}

func runInspect(cmd *cobra.Command, args []string) error {
	config, err := inspectedConfig(cmd)
	if err != nil {
		return err
	}
	token, err := inspectedToken(cmd.InOrStdin(), args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), inspectTimeout)
	defer cancel()
	if path := cmd.Flag("certificate").Value.String(); path != "" {
		if ctx, err = withCertificate(ctx, path); err != nil {
			return err
		}
	}
	in := &inspection{ctx: ctx, token: token, now: time.Now()}
	err = in.config(config, cmd.Flag("site").Value.String())
	if _, printErr := io.WriteString(cmd.OutOrStdout(), in.report.String()); printErr != nil {
		return printErr
	}
	if errors.Is(err, errNotAccepted) {
		cmd.SilenceErrors = true // the report says it better
	}
	return err
}

// inspectedConfig returns the configuration as JSON.
func inspectedConfig(cmd *cobra.Command) ([]byte, error) {
	path, adapter := cmd.Flag("config").Value.String(), cmd.Flag("adapter").Value.String()
	if path == "-" {
		return nil, errors.New("--config -: standard input is for the token; give the configuration as a file")
	}
	config, _, _, err := caddycmd.LoadConfig(path, adapter)
	if err != nil {
		return nil, err
	}
	if len(config) == 0 {
		return nil, errors.New("no configuration: there is no Caddyfile here; give one with --config")
	}
	return config, nil
}

// inspectedToken reads the token. Its errors do not name the file, in case
// that somebody gives the token in its place.
func inspectedToken(stdin io.Reader, args []string) (string, error) {
	in := stdin
	if len(args) == 1 && args[0] != "-" {
		file, err := os.Open(args[0])
		if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
			err = pathErr.Err
		}
		if err != nil {
			return "", fmt.Errorf("opening the file with the token: %w (the token itself belongs into a file, or on standard input)", err)
		}
		defer file.Close()
		in = file
	}
	text, err := io.ReadAll(io.LimitReader(in, maxInspected))
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	if err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" {
		return "", errors.New("reading the token: there is none")
	}
	return token, nil
}

// withCertificate returns a ctx for a client that shows the first certificate of
// the file.
func withCertificate(ctx context.Context, path string) (context.Context, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--certificate: %w", err)
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("--certificate %s: %w", path, err)
		}
		return auth.WithConnection(ctx, &tls.ConnectionState{PeerCertificates: []*x509.Certificate{certificate}}), nil
	}
	return nil, fmt.Errorf("--certificate %s has no certificate in PEM form", path)
}

// inspection is what a configuration makes of one token.
type inspection struct {
	ctx    context.Context
	token  string
	now    time.Time
	report strings.Builder
}

// config inspects the token with all handlers of a configuration, or with
// those that site names. It returns errNotAccepted if one does not accept it.
func (in *inspection) config(config []byte, site string) error {
	handlers, err := findHandlers(config)
	if err != nil {
		return err
	}
	if handlers, err = chooseHandlers(handlers, site); err != nil {
		return err
	}
	ctx, cancel, err := inspectContext()
	if err != nil {
		return err
	}
	defer cancel()

	accepted := 0
	identities := make([]*auth.Identity, len(handlers))
	for i, found := range handlers {
		fmt.Fprintf(&in.report, "%s\n", found)
		h, err := found.provision(ctx)
		if err != nil {
			return err
		}
		var outer *auth.Identity
		for j := range i {
			if handlers[j].isInFrontOf(found) {
				outer = identities[j]
			}
		}
		if identities[i] = in.handler(h, outer); identities[i] != nil {
			accepted++
		}
	}
	fmt.Fprintf(&in.report, "accepted by %d of %d\n", accepted, len(handlers))
	if accepted < len(handlers) {
		return errNotAccepted
	}
	return nil
}

// handler inspects the token with one handler, and returns its identity if it
// gets in. outer is the identity that the handler in front of it has found,
// which this one tightens if it has no verifier.
func (in *inspection) handler(h *Handler, outer *auth.Identity) *auth.Identity {
	id := outer
	if len(h.verifiers) > 0 {
		id = in.verify(h)
	} else if outer == nil {
		in.check(auth.Check{Name: "verified", Detail: "it has no verifier, and none in front of it has accepted the token"})
	}
	if id == nil {
		return nil
	}
	accepted := true
	for _, rule := range h.rules {
		err := rule.Check(id)
		in.check(auth.Check{Name: "require", OK: err == nil, Detail: ruleDetail(rule, err)})
		accepted = accepted && err == nil
	}
	if !accepted {
		return nil
	}
	return id
}

// verify asks the verifiers in order, as the handler does.
func (in *inspection) verify(h *Handler) *auth.Identity {
	for _, v := range h.verifiers {
		fmt.Fprintf(&in.report, "  verify %s\n", v.name)
		if e, ok := v.Verifier.(explainer); ok {
			for _, c := range e.Explain(in.ctx, in.token, in.now) {
				in.check(c)
			}
		}
		id, err := v.vouch(in.ctx, in.token, in.now)
		if err == nil && id != nil {
			in.check(auth.Check{Name: "verified", OK: true, Detail: fmt.Sprintf("user %q, until %s (%v from now)",
				id.User, id.ValidUntil.Format(time.RFC3339), id.ValidUntil.Sub(in.now).Round(time.Second))})
			return id
		}
		in.check(auth.Check{Name: "verified", Detail: refusalDetail(err)})
	}
	return nil
}

// explainer is a verifier that can say how it comes to its verdict.
type explainer interface {
	Explain(ctx context.Context, token string, now time.Time) []auth.Check
}

// ruleDetail says what a rule demands, and why it is not met.
func ruleDetail(rule auth.Rule, err error) string {
	var words string
	switch rule := rule.(type) {
	case auth.ScopeRule:
		words = "scope " + strings.Join(rule.Scopes, " ")
	case auth.ClaimRule:
		words = "claim " + rule.Path.String() + " " + strings.Join(rule.Values, " ")
	default:
		words = fmt.Sprintf("%T", rule)
	}
	if err != nil {
		return words + ": " + refusalDetail(err)
	}
	return words
}

// check writes one line of the report.
func (in *inspection) check(c auth.Check) {
	mark := "no"
	if c.OK {
		mark = "ok"
	}
	fmt.Fprintf(&in.report, "    %s  %-12s %s\n", mark, c.Name, c.Detail)
}

// refusalDetail says why something was refused, in the words for operators.
func refusalDetail(err error) string {
	if refused, ok := errors.AsType[*auth.RefusedError](err); ok {
		return fmt.Sprintf("%s: %v", refused.Reason, refused.Err)
	}
	if outage, ok := errors.AsType[*auth.OutageError](err); ok {
		return fmt.Sprintf("cannot tell: %v", outage.Err)
	}
	if err != nil {
		return err.Error()
	}
	return ""
}
