package websocketauth

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/spf13/cobra"
)

func init() {
	RegisterSubcommand(newRevokeCommand)
}

func newRevokeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "revoke --issuer <iss> (--subject <sub> | --jti <jti> | --sid <sid>) [--issued-before <time>] " +
			"[--until <time> | --for <duration>] [--reason <text>] [--undo | --list] [--json]",
		Short: "Revokes tokens, or lists what is revoked",
		Long: `
Makes tokens worth nothing from now on, on all nodes: one token by --jti, those
of one session at the provider by --sid, or all of a subject that were issued
before now, or before another moment. Their WebSockets end, and new ones are
refused until the revocation is over: when the longest token has ended, unless
--until or --for says.

--undo takes such a revocation back. --list shows all that count, or those for
which all filters hold. Times are like 2030-01-31T12:00:00Z.
` + adminHelp,
		Example: `  caddy websocket-auth revoke --issuer https://id.example.com --subject alice --reason "lost her phone"`,
		RunE:    runRevoke,
	}
	addAdminFlags(cmd)
	addIdentityFlags(cmd)
	cmd.Flags().String("issued-before", "", "Up to which time of issue tokens are meant")
	cmd.Flags().String("until", "", "When the revocation is over")
	cmd.Flags().Duration("for", 0, "How long the revocation lasts")
	cmd.Flags().String("reason", "", "A note for people")
	cmd.Flags().Bool("undo", false, "Take the revocation back")
	cmd.Flags().Bool("list", false, "List what is revoked")
	cmd.MarkFlagsMutuallyExclusive("until", "for")
	for _, other := range []string{"undo", "list"} {
		for _, name := range []string{"issued-before", "until", "for", "reason"} {
			cmd.MarkFlagsMutuallyExclusive(other, name)
		}
	}
	cmd.MarkFlagsMutuallyExclusive("undo", "list")
	return cmd
}

func runRevoke(cmd *cobra.Command, _ []string) error {
	switch {
	case flagIsSet(cmd, "list"):
		return runRevocations(cmd)
	case !cmd.Flag("issuer").Changed:
		return errors.New("--issuer is missing: it is the iss of the tokens, or \"\" for those without one")
	case flagIsSet(cmd, "undo"):
		return runUnrevoke(cmd)
	}
	body, err := revocationBody(cmd, time.Now())
	if err != nil {
		return err
	}
	var done revoked
	if err := askAdmin(cmd, http.MethodPost, "revocations", nil, body, &done); err != nil {
		return err
	}
	if flagIsSet(cmd, "json") {
		return printJSON(cmd, done)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "revoked until %s, %s ended on this node\n",
		done.Revocation.Until.Format(time.RFC3339), countOf(done.Sockets, "session"))
	return nil
}

// revocationBody returns the revocation that the flags describe.
func revocationBody(cmd *cobra.Command, now time.Time) (map[string]string, error) {
	body := make(map[string]string)
	for _, name := range append(slices.Clip(identityWords), "reason", "until") {
		if flag := cmd.Flag(name); flag.Changed {
			body[name] = flag.Value.String()
		}
	}
	if flag := cmd.Flag("issued-before"); flag.Changed {
		body["issued_before"] = flag.Value.String()
	}
	if cmd.Flag("for").Changed {
		lasts, err := cmd.Flags().GetDuration("for")
		if err != nil || lasts <= 0 {
			return nil, errors.New("--for is a time such as 24h")
		}
		body["until"] = now.Add(lasts).UTC().Format(time.RFC3339Nano)
	}
	return body, nil
}

func runUnrevoke(cmd *cobra.Command) error {
	var done struct {
		Removed int `json:"removed"`
	}
	if err := askAdmin(cmd, http.MethodDelete, "revocations", flagQuery(cmd, identityWords...), nil, &done); err != nil {
		return err
	}
	if flagIsSet(cmd, "json") {
		return printJSON(cmd, done)
	}
	fmt.Fprintln(cmd.OutOrStdout(), countOf(done.Removed, "revocation"), "taken back")
	return nil
}

func runRevocations(cmd *cobra.Command) error {
	found, total, err := askPages(cmd, "revocations", "revocations", flagQuery(cmd, identityWords...), 0)
	if err != nil {
		return err
	}
	return printList(cmd, "revocations", found, total, "OF\tVALUE\tISSUER\tISSUED BEFORE\tUNTIL\tREASON", revocationRow)
}

func revocationRow(e revocationEntry) []string {
	of, value := "subject", e.Subject
	switch {
	case e.TokenID != "":
		of, value = "jti", e.TokenID
	case e.SessionID != "":
		of, value = "sid", e.SessionID
	}
	before := ""
	if e.IssuedBefore != nil {
		before = e.IssuedBefore.Format(time.RFC3339)
	}
	return []string{of, value, e.Issuer, before, e.Until.Format(time.RFC3339), e.Reason}
}
